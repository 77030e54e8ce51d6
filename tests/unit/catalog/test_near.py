"""Near-duplicates on a real home: the band index as a consumer of the ledger, and the decisions that come of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import texts
from texts import config_of, decisions, edited, put, words

from catalog import bands, files, near
from catalog.decisions import discarded
from catalog.dedup import DEDUP
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.ledger import Row, now
from catalog.minhash import tokenize
from catalog.settings import Config

STORY = " ".join(words(120))
OTHER = " ".join(words(120, 500))


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: texts.STAGES)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


@pytest.fixture
def home(config: Config) -> Iterator[Home]:
    with Home.open(config.catalog) as opened:
        yield opened


def visible(home: Home) -> set[str]:
    rows = home.view().read("documents", ["document_id", "batch_id", "url"]).to_pylist()
    away = discarded(home.view().read("duplicates"))
    return {row["url"] for row in rows if (row["document_id"], row["batch_id"]) not in away}


def files_of(home: Home) -> list[str]:
    return sorted(path.name for path in bands.folder_of(home.root).glob("*/*"))


def test_a_copy_with_edits_is_dropped_for_what_stands_already(home: Home, config: Config) -> None:
    put(home, config, 0, {"a": STORY, "b": OTHER})
    DEDUP.run(home, config)
    put(home, config, 1, {"c": edited(STORY, range(3, 120, 20)), "d": " ".join(words(120, 900))})
    report = DEDUP.run(home, config)
    ((record, kept, kind, score),) = decisions(home)
    assert (record, kept, kind) == ("c", "a", "minhash")
    assert score == pytest.approx((118 - 18) / (118 + 18), abs=0.001)  # each edit changes three shingles
    (row,) = home.view().read("duplicates").to_pylist()
    assert (row["threshold"], row["method"]) == (0.5, "minhash")
    assert (report.num_in, report.outputs) == (2, {"duplicates": 1})


def test_pages_of_a_template_stay_unless_told_otherwise(tmp_path: Path) -> None:
    pages = {f"order/{n}": f"Order {n} {STORY}" for n in (1234, 1235, 1236)}
    for keep, left in ((True, 3), (False, 1)):
        config = config_of(tmp_path / str(keep), keep_lookalikes=keep)
        with Home.open(config.catalog) as home:
            put(home, config, 0, pages)
            DEDUP.run(home, config)
            assert len(visible(home)) == left


def test_decisions_do_not_depend_on_how_much_is_read_and_compared_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for amount in (10**6, 1):
        monkeypatch.setattr(near, "TOKENS", amount)
        monkeypatch.setattr(bands, "READ", amount)
        monkeypatch.setattr(bands, "QUERIES", min(amount, 1000))
        config = config_of(tmp_path / str(amount))
        with Home.open(config.catalog) as home:
            for day in range(3):
                texts = {f"copy{day}": edited(STORY, [9 * day, 50]), f"other{day}": edited(OTHER, [day])}
                put(home, config, day, {**texts, f"alone{day}": " ".join(words(60, 500 + 90 * day))})
            DEDUP.run(home, config)
            found.append(decisions(home))
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_another_language_and_short_texts_are_compared_exactly_only(tmp_path: Path) -> None:
    config = config_of(tmp_path, languages=["en"])
    with Home.open(config.catalog) as home:
        put(home, config, 0, {"a": STORY, "b": edited(STORY, [5])}, language="de")
        put(home, config, 1, {"x": "two words", "y": "Two words", "z": "two words"})
        DEDUP.run(home, config)
        assert decisions(home) == [("z", "x", "exact", 1.0)]


def test_without_minhash_only_equal_texts_give_way(tmp_path: Path) -> None:
    config = config_of(tmp_path, minhash=False)
    with Home.open(config.catalog) as home:
        put(home, config, 0, {"a": STORY, "b": edited(STORY, [5]), "c": STORY})
        DEDUP.run(home, config)
        assert decisions(home) == [("c", "a", "exact", 1.0)]
        assert files_of(home) == []


def test_what_was_dropped_for_a_page_comes_back_when_the_page_changes(home: Home, config: Config) -> None:
    put(home, config, 0, {"a": STORY, "b": edited(STORY, [5, 50]), "c": edited(STORY, [7, 90])})
    DEDUP.run(home, config)
    assert visible(home) == {"a"}
    put(home, config, 1, {"a": OTHER})
    DEDUP.run(home, config)
    assert visible(home) == {"a", "b"}
    kinds = [(record, kept, kind) for record, kept, kind, _ in decisions(home)]
    assert ("b", "b", "kept") in kinds
    assert ("c", "b", "minhash") in kinds


def test_a_batch_that_is_switched_off_leaves_the_index_and_returns_what_it_stood_for(
    home: Home, config: Config
) -> None:
    first = put(home, config, 0, {"a": STORY})
    DEDUP.run(home, config)
    put(home, config, 1, {"b": edited(STORY, [5, 50])})
    DEDUP.run(home, config)
    off = Row(seq=0, kind="revoke", stage="extract", time=now(), targets=(first,))
    home.ledger.append(lambda state: [off])
    put(home, config, 2, {"c": edited(STORY, [70])})
    DEDUP.run(home, config)
    assert visible(home) == {"b"}
    index = near.open_index(home.root, config.catalog.dedup)
    view = home.view()
    index.refresh(view, [batch.batch_id for batch in view.live("extract")])
    assert first not in index.batches
    assert len(index) == 2


def test_the_index_is_the_same_however_it_was_built(home: Home, config: Config, tmp_path: Path) -> None:
    for day in range(5):
        put(home, config, day, {f"u{day}-{k}": " ".join(words(30 + k, 700 * day + 40 * k)) for k in range(1 + day % 3)})
        DEDUP.run(home, config)
    view = home.view()
    live = [batch.batch_id for batch in view.live("extract")]
    grown, built = (near.open_index(root, config.catalog.dedup) for root in (home.root, tmp_path / "aside"))
    grown.refresh(view, live)
    built.refresh(view, live)
    everything = np.arange(len(built))
    assert grown.rows(everything).equals(built.rows(everything))
    texts = zip(grown.texts(everything), built.texts(everything), strict=True)
    assert all((one.codes == other.codes).all() for one, other in texts)
    assert [found.tolist() for found in grown.pairs(everything)] == [
        found.tolist() for found in built.pairs(everything)
    ]
    grown.refresh(view, live[1:4])
    assert grown.batches == frozenset(live[1:4])
    assert grown.rows(np.arange(len(grown)))["batch_id"].to_pylist() == [
        batch for batch in built.rows(everything)["batch_id"].to_pylist() if batch in live[1:4]
    ]


def test_segments_stay_few_and_bounded(home: Home, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "SEGMENT_ROWS", 8)
    for day in range(8):
        put(home, config, day, {f"u{day}-{k}": " ".join(words(20, 60 * day + 30 * k)) for k in range(2)})
    DEDUP.run(home, config)
    (folder,) = (path for path in bands.folder_of(home.root).iterdir() if path.is_dir())
    sizes = [entry.num_rows for entry in bands.read_manifest(folder)]
    assert sum(sizes) == 16
    assert max(sizes) <= 8
    assert len(sizes) <= 4
    assert len(files_of(home)) == 2 * len(sizes) + 1


def test_other_settings_build_another_index_and_remove_the_first(home: Home, config: Config) -> None:
    put(home, config, 0, {"a": STORY, "b": edited(STORY, [5])})
    DEDUP.run(home, config)
    before = files_of(home)
    stricter = config_of(home.root, threshold=0.99, num_bands=16)
    DEDUP.run(home, stricter)
    assert decisions(home) == []
    assert len(files_of(home)) == len(before) == 3
    assert files_of(home) != before


@pytest.mark.parametrize("what", ["*.npy", "*.arrow", "manifest.json"])
def test_a_damaged_index_is_one_clear_line(home: Home, config: Config, what: str) -> None:
    put(home, config, 0, {"a": STORY})
    DEDUP.run(home, config)
    (path,) = bands.folder_of(home.root).glob(f"*/{what}")
    path.write_bytes(b"{")
    put(home, config, 1, {"b": OTHER})
    with pytest.raises(Corrupt, match="run headrace doctor --repair"):
        DEDUP.run(home, config)


def test_a_killed_run_leaves_nothing_behind(home: Home, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of the index a killed run wrote, the next one decides the same and removes what it does not use."""
    put(home, config, 0, {"a": STORY})
    DEDUP.run(home, config)
    put(home, config, 1, {"b": edited(STORY, [5, 50])})
    real = files.replace
    for survives in (False, True):

        def die(url: str, data: bytes, survives: bool = survives) -> None:
            if survives:
                real(url, data)
            raise KeyboardInterrupt

        monkeypatch.setattr(files, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            DEDUP.run(home, config)
        monkeypatch.setattr(files, "replace", real)
        assert decisions(home) == []
    DEDUP.run(home, config)
    assert [row[:3] for row in decisions(home)] == [("b", "a", "minhash")]
    (manifest,) = bands.folder_of(home.root).glob("*/manifest.json")
    assert len(files_of(home)) == 2 * len(json.loads(manifest.read_text())) + 1


def test_a_forgotten_document_stands_for_nothing_and_does_not_come_back(home: Home, config: Config) -> None:
    batch = put(home, config, 0, {"a": STORY, "b": OTHER})
    DEDUP.run(home, config)
    index = near.open_index(home.root, config.catalog.dedup)
    (gone,) = (row["document_id"] for row in home.view().read("documents").to_pylist() if row["url"] == "a")
    assert [index.forget([gone]), index.forget([gone])] == [1, 0]
    index.refresh(home.view(), [batch])
    assert index.rows(np.arange(len(index)))["url"].to_pylist() == ["b"]
    marks = np.concatenate([text.codes for text in index.texts(np.arange(len(index)))])
    assert not np.isin(tokenize(STORY), marks).any()


def test_documents_are_decided_about_in_groups(home: Home, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.dedup.GROUP", 2)
    put(home, config, 0, {"a": STORY, "b": OTHER})
    put(home, config, 1, {"c": edited(STORY, [5])})
    put(home, config, 2, {"d": edited(OTHER, [5]), "e": STORY, "f": edited(STORY, [9])})
    report = DEDUP.run(home, config)
    assert (report.batches, report.num_in) == (3, 6)
    assert [row[:3] for row in decisions(home)] == [
        ("c", "a", "minhash"), ("d", "b", "minhash"), ("e", "a", "exact"), ("f", "a", "minhash"),
    ]  # fmt: skip
    assert DEDUP.run(home, config).batches == 0
