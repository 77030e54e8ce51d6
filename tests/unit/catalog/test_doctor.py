"""Doctor finds what is wrong with a home, names it, and repairs what can be rebuilt."""

import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import faiss as faiss_library
import numpy as np
import pytest
import storybook
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from storybook import Story

from catalog import audit, doctor, models
from catalog.home import Home
from catalog.ledger import InputCounts, Row, State
from catalog.proving import toychain
from catalog.schema import KEYS
from catalog.settings import CatalogSettings, Config
from catalog.vectors import VectorIndex
from trainer.registry import Registry


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A home with all its indexes, closed."""
    story = storybook.tell(tmp_path_factory.mktemp("doctor") / "home")
    with story.home as home:
        view = home.view()
        for table in KEYS:
            home.index.refresh(table, view.urls(table))
        VectorIndex(home.root / "indexes", "text_features", "tiny", "r1").refresh(view)
    shutil.copytree(home.root, home.root.with_name("copy"))
    return story


@pytest.fixture
def told(whole: Story) -> Iterator[Story]:
    """That home, opened; whatever a test does to it is undone."""
    root = whole.home.root
    with Home.open(whole.home.settings) as home:
        yield replace(whole, home=home)
    shutil.rmtree(root)
    shutil.copytree(root.with_name("copy"), root)


def examine(home: Home, repair: bool = False) -> dict[str, dict]:
    config = Config({"root": str(home.root), "models": "offline"})
    result = doctor.doctor(home, config, repair)
    json.dumps(result)
    found = {item["check"]: item for item in result["checks"]}
    assert result["ok"] == all(item["ok"] for item in found.values())
    return found


def wrong(found: dict[str, dict]) -> list[str]:
    return [name for name, item in found.items() if not item["ok"] and not name.startswith("model")]


def test_databases_are_looked_over_whatever_their_folder_is_called(tmp_path: Path) -> None:
    root = tmp_path / "50%41 of #1? [a]"
    with closing(toychain.drive(root, range(1))):
        assert audit.databases(root).ok
    assert [path.name for path in tmp_path.iterdir()] == [root.name], "another file was made"


def test_a_sound_home_is_in_order(told: Story) -> None:
    home = told.home
    found = examine(home)
    assert wrong(found) == []
    assert found["unfinished work"]["detail"] == "none"
    assert found["vector indexes"]["detail"] == "1 match their manifests, recall@10 1.000"
    assert list(found["vector indexes"]["figures"].values()) == [1.0]
    assert set(found) >= {"ledger", "shards", "rows", "key index", "packages", "faiss", "model clip", "model lm"}


def test_a_young_home_in_which_nothing_was_rejected_yet_is_in_order(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("z", "Z")]}), num_in=1)
    found = doctor.examine(Config({"root": str(tmp_path), "models": "offline"}))
    assert wrong({item["check"]: item for item in found["checks"]}) == []


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_flip, "does not match the SHA-256 in its name"), (_cut, "does not match"), (Path.unlink, "is missing")],
)
def test_a_damaged_shard_is_named(told: Story, damage: Callable[[Path], None], words: str) -> None:
    home = told.home
    shard = Path(home.view().urls("documents")[0])
    damage(shard)
    found = examine(home)
    assert "shards" in wrong(found)
    assert str(shard.relative_to(home.warehouse)) in found["shards"]["detail"]
    assert words in found["shards"]["detail"]
    assert "the table holds 0" in found["rows"]["detail"], "the lost rows are counted too"


def test_a_ledger_that_says_more_than_the_tables_hold_is_found(told: Story) -> None:
    home = told.home
    row = home.ledger.refresh().published[told.batches["embed2"]]
    more = replace(row, batch_id="made up", outputs={"text_features": 5}, rejects={"no_model": 1})
    home.ledger.append(lambda state: [more])
    found = examine(home)
    assert wrong(found) == ["ledger", "rows"]
    assert "embed batch made up: 0 rows rejected, 1 of them by reason" in found["ledger"]["detail"]
    assert "the ledger says 5 rows of text_features, the table holds 0" in found["rows"]["detail"]
    assert "1 rows of rejects (no_model)" in found["rows"]["detail"]


def test_rows_of_unfinished_work_are_counted_and_are_no_fault(told: Story) -> None:
    home = told.home
    storybook_row = storybook.document("x", "X", "words")
    table = storybook.pa.Table.from_pylist([storybook_row], schema=storybook.schema.body("documents"))
    key = storybook.PartKey("0" * 32, 0, 1, "input", "")
    done = storybook.write_part(home.warehouse, key, {"documents": table}, ("documents",))
    storybook.commit_tables(home, "0" * 32, [done])
    found = examine(home)
    assert wrong(found) == []
    assert "1 rows of unpublished batches" in found["unfinished work"]["detail"]
    assert f"documents: {'0' * 32}" in found["unfinished work"]["detail"]


@pytest.mark.parametrize("damage", ["entries lost", "entries wrong", "no database"])
def test_a_damaged_key_index_is_found_and_repaired(told: Story, damage: str) -> None:
    path = told.home.root / "indexes" / "keys.db"
    told.home.close()
    if damage == "no database":
        path.write_bytes(b"nothing like a database " * 400)
    else:
        with closing(sqlite3.connect(path)) as db:
            change = "DELETE FROM keys" if damage == "entries lost" else "UPDATE keys SET row = row + 1"
            db.execute(f"{change} WHERE file = (SELECT file FROM files WHERE tbl = 'documents' LIMIT 1)")
            db.commit()
    with Home.open(told.home.settings) as home:
        assert wrong(examine(home)) == ["key index"]
        assert "run headrace doctor --repair" in examine(home)["key index"]["detail"]
        repaired = examine(home, repair=True)
        assert wrong(repaired) == []
        assert repaired["key index"]["detail"].startswith("repaired (")
        document = told.documents["a"]["document_id"]
        assert home.view().lookup("documents", "document_id", [document]).num_rows == 1


def test_an_index_that_is_behind_or_absent_is_no_fault(told: Story) -> None:
    home = told.home
    storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("z", "Z")]}), num_in=1)
    assert examine(home)["key index"]["ok"]
    for file in (told.home.root / "indexes").glob("keys.db*"):
        file.unlink()
    with Home.open(told.home.settings) as home:
        assert examine(home)["key index"]["detail"] == "not built yet; the first lookup builds it"


@pytest.mark.parametrize("pattern", ["*.faiss", "*.ids.parquet", "*.json"])
def test_a_damaged_vector_index_is_found_and_dropped(told: Story, pattern: str) -> None:
    folder = told.home.root / "indexes" / "vectors"
    (target,) = folder.glob(pattern)
    target.write_bytes(b"{" if pattern == "*.json" else b"other bytes")
    home = told.home
    assert wrong(examine(home)) == ["vector indexes"]
    assert wrong(examine(home, repair=True)) == []
    again = VectorIndex(home.root / "indexes", "text_features", "tiny", "r1")
    assert again.refresh(home.view())
    assert again.search(np.array([[1.0, 0.0]], np.float32), 9)[0], faiss_library.__version__


COUNTS = st.integers(0, 4)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.dictionaries(st.sampled_from(["timeout", "too_short"]), COUNTS))
def test_books_close_exactly_when_they_add_up(
    num_in: int, processed: int, rejected: int, reused: int, skipped: int, reasons: dict[str, int]
) -> None:
    counts = InputCounts("in", num_in, processed, rejected, reused, skipped)
    first = Row(1, "publish", "crawl", toychain.FETCHED, "in", origins=("in",))
    row = Row(2, "publish", "extract", toychain.FETCHED, "out", inputs=(counts,), origins=("in",), rejects=reasons)
    closes = num_in == processed + rejected + reused + skipped and rejected == sum(reasons.values())
    assert audit.ledger(State([first, row])).ok == closes


def test_gaps_repeats_and_strange_inputs_in_the_ledger_are_named() -> None:
    first = Row(1, "publish", "crawl", toychain.FETCHED, "in", origins=("in",))
    strange = Row(
        3, "publish", "extract", toychain.FETCHED, "out", inputs=(InputCounts("who", 0, 0, 0),), origins=("in",)
    )
    found = audit.ledger(State([first, strange, replace(strange, seq=4)]))
    assert not found.ok
    for words in ("sequence numbers break at 2", "out was published twice", "consumed who, which nobody published"):
        assert words in found.detail


HERE = Path(doctor.catalog.__file__).parent


def test_packages_belong_to_headrace_alone() -> None:
    folders = {name: HERE.parent / name for name in doctor.PACKAGES}
    assert doctor.ownership({"trainer": ["headrace"], "catalog": ["headrace", "headrace"]}, folders).ok
    stolen = doctor.ownership({"trainer": ["headrace", "coqui-trainer"]}, folders)
    assert "package trainer also belongs to coqui-trainer" in stolen.detail
    assert not stolen.ok
    shadowed = doctor.ownership({}, folders | {"ingest": Path("/elsewhere/ingest")})
    assert "package ingest is taken from /elsewhere/ingest" in shadowed.detail
    missing = doctor.ownership({}, folders | {"annotate": None})
    assert "package annotate is missing" in missing.detail


def test_faiss_is_installed_by_exactly_one() -> None:
    assert doctor.faiss({"faiss": ["faiss-cpu"]}).ok
    assert "overwrite each other" in doctor.faiss({"faiss": ["faiss-gpu", "faiss-cpu"]}).detail
    assert "headrace[cpu]" in doctor.faiss({}).detail


def test_damaged_model_versions_are_named(told: Story, tmp_path: Path) -> None:
    folder = told.home.root / "models"
    shutil.rmtree(folder)
    (tmp_path / "plan.parquet").write_bytes(b"rows")
    made = {"round": "r", "material": "m", "gate": {"reasons": []}, "weights": {}}
    Registry(folder).add(made, tmp_path / "plan.parquet", promote=True)
    assert wrong(examine(told.home)) == []
    (folder / "versions" / "v1" / "plan.parquet").write_bytes(b"sows")
    found = examine(told.home)
    assert wrong(found) == ["beside the tables"]
    assert "v1/plan.parquet is not as it was committed" in found["beside the tables"]["detail"]


def test_a_damaged_share_of_the_frontier_is_named(tmp_path: Path) -> None:
    assert doctor.kept(tmp_path).ok
    share = tmp_path / "frontier-2" / "0.db"
    share.parent.mkdir()
    share.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    assert doctor.kept(tmp_path).detail.startswith("frontier-2/0.db: ")


def test_models_are_local_or_asked_of_the_hub_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = Config({"models": {"lm": str(tmp_path), "clip": "tiny_clip", "whisper": "large-v9"}})
    assert str(tmp_path) in doctor.weights(local, "lm").detail
    asked = doctor.weights(local, "whisper")
    assert asked.ok
    assert "the hub is asked" in asked.detail
    monkeypatch.setattr(models, "examples_dir", lambda: tmp_path)
    gone = doctor.weights(local, "clip")
    assert not gone.ok
    assert "tiny_clip" in gone.detail


def test_a_long_list_of_problems_is_cut() -> None:
    found = audit.verdict("x", [f"problem {k}" for k in range(8)], "")
    assert found.detail.endswith("problem 4; and 3 more")


def test_rendering_says_what_is_wrong(story: Story) -> None:
    sink = io.StringIO()
    checks = [
        doctor.asdict(audit.Finding("a", True, "[fine]")),
        doctor.asdict(audit.verdict("b", ["first", "second"], "fine", "mend it")),
    ]
    doctor.render({"ok": False, "checks": checks}, Console(file=sink, width=80))
    assert sink.getvalue().splitlines() == [
        "ok    a  [fine]", "wrong b  first: mend it", "wrong b  second: mend it", "1 of 2 checks found something",
    ]  # fmt: skip
