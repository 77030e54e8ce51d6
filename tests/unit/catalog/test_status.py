"""Status counts what readers see, from the ledger alone."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import storybook
from rich.console import Console
from storybook import Story

from catalog import export, pipeline, status
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.proving import toychain
from catalog.schema import TABLES
from catalog.settings import CatalogSettings, Config


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", lambda: toychain.STAGES)


def report(story: Story) -> dict:
    return status.status(story.home, Config({"root": str(story.home.root), "stages": ["crawl"]}))


def test_rows_are_those_that_a_scan_finds(story: Story) -> None:
    view = story.home.view()
    tables = report(story)["tables"]
    assert set(tables) == {"batches", *TABLES}
    for name in TABLES:
        rows = view.read(name, ["batch_id"])
        assert (tables[name]["rows"], tables[name]["batches"]) == (
            rows.num_rows,
            len(set(rows["batch_id"].to_pylist())),
        )
        urls = view.urls(name)
        assert (tables[name]["files"], tables[name]["bytes"]) == (len(urls), sum(Path(u).stat().st_size for u in urls))
    assert tables["batches"]["rows"] == len(view.state.rows)


def test_rejects_are_counted_by_stage_and_reason(story: Story) -> None:
    assert report(story)["rejects"] == {"crawl": {"robots_denied": 1}, "extract": {"empty_text": 1}}


def test_sources_have_shares_and_freshness(story: Story) -> None:
    sources = report(story)["sources"]
    assert sources == {"news": {"pages": 7, "share": 1.0, "last_fetched": "2026-03-01T12:40:00+00:00"}}


def test_shares_of_several_classes_add_up(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        pages = [storybook.page(str(k), "x", k, source_class=("blog", "news", None)[min(k, 2)]) for k in range(4)]
        storybook.put(home, "crawl", storybook.Made({"pages": pages}), num_in=4)
        found = status.sources(home.view())
        assert {name: source["share"] for name, source in found.items()} == {
            "unclassified": 0.5, "blog": 0.25, "news": 0.25,
        }  # fmt: skip
        assert found["unclassified"]["last_fetched"] == "2026-03-01T12:03:00+00:00"


def test_what_was_revoked_is_not_counted_but_still_stored(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        batch = storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("a", "A")]}), num_in=1)
        row = storybook.Row(0, "revoke", "crawl", storybook.TIME, targets=(batch,))
        home.ledger.append(lambda state: [row])
        counts = status.tables(home.view())["pages"]
        assert (counts["rows"], counts["batches"], counts["files"]) == (0, 0, 1)
        assert status.sources(home.view()) == {}


@pytest.mark.usefixtures("toys")
def test_pending_counts_the_batches_that_wait_for_each_stage(tmp_path: Path) -> None:
    config = toychain.make_config(tmp_path)
    with toychain.drive(tmp_path, range(2)) as home:
        assert status.status(home, config)["pending"] == {"extract": 0, "embed": 0, "fuse": 0}
        home.publish_origin(toychain.CRAWL, "more", 7, {"pages": toychain.page_rows(9)}, {})
        assert status.status(home, config)["pending"] == {"extract": 1, "embed": 0, "fuse": 0}
        toychain.EXTRACT.run(home, config)
        assert status.status(home, config)["pending"] == {"extract": 0, "embed": 1, "fuse": 0}
        before = home.view().seq
        other = toychain.make_config(tmp_path, flavour="B")
        assert status.status(home, other)["pending"]["extract"] == 3, "other settings make everything wait again"
        assert home.view().seq == before, "looking changes nothing"


def test_an_empty_home_has_nothing(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        found = status.status(home, Config({"root": str(tmp_path), "stages": ["crawl"]}))
        assert (found["rejects"], found["sources"], found["pending"]) == ({}, {}, {})
        assert {counts["rows"] for counts in found["tables"].values()} == {0}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"nothing"), Path.unlink])
def test_a_damaged_shard_is_one_clear_line(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    told = storybook.tell(tmp_path / "home")
    damage(Path(told.home.view().urls("pages")[-1]))
    with pytest.raises(Corrupt, match=r"^table pages: .*; run headrace doctor$"):
        report(told)
    damage(Path(told.home.view().urls("examples")[-1]))
    with pytest.raises(Corrupt, match=r"^table examples: .*; run headrace doctor$"):
        export.current_examples(told.home)
    told.home.close()


def test_classes_may_hold_brackets() -> None:
    out = io.StringIO()
    source = {"pages": 1, "share": 1.0, "last_fetched": None}
    status.render(
        {"tables": {}, "rejects": {}, "duplicates": {"image": {"proposed": 2}}, "pending": {}, "freshness": {},
         "sources": {"a [/b]": source}},
        Console(file=out),
    )  # fmt: skip
    assert "duplicates, image: 2 proposed" in out.getvalue()
    assert "source class a [/b]: 1 pages" in out.getvalue()


def test_it_is_json_and_renders(story: Story) -> None:
    found = report(story)
    json.dumps(found)
    sink = io.StringIO()
    status.render(found | {"pending": {"extract": 2}}, Console(file=sink, width=120))
    for words in ("documents", "rejected by extract: empty_text 1", "news: 7 pages (100.0%)", "waiting: extract 2"):
        assert words in sink.getvalue()
