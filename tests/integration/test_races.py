"""Drivers racing over one home consume every input once; settings changed back find their rows again."""

from dataclasses import replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from catalog import ids, pipeline
from catalog.errors import CommitConflict
from catalog.home import Home, Input, Plan
from catalog.proving import drivers, toychain
from catalog.proving.agreement import check_agreement, finished_parts, live_rows
from catalog.proving.toychain import EXTRACT, FUSE, STAGES


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: STAGES)


def race(root: Path, origins: range, laps: int, start: Barrier) -> None:
    """Be one of several drivers: wait for the others, then run every stage some times."""
    toychain.install()
    start.wait(60)
    for _ in range(laps):
        toychain.drive(root, origins).close()


@pytest.mark.parametrize("ranges", [[range(0, 4), range(2, 6)], [range(0, 3), range(1, 4), range(2, 5)]])
def test_drivers_racing_over_overlapping_inputs_consume_each_once(tmp_path: Path, ranges: list[range]) -> None:
    barrier = drivers.CONTEXT.Barrier(len(ranges))
    racers = [drivers.start(race, tmp_path / "home", origins, 2, barrier) for origins in ranges]
    assert [drivers.finish(racer) for racer in racers] == [0] * len(ranges)
    origins = range(ranges[0].start, ranges[-1].stop)
    config = toychain.make_config(tmp_path / "home")
    with Home.open(config.catalog) as home, toychain.drive(tmp_path / "reference", origins) as reference:
        for stage in STAGES.values():
            assert home.todo(stage, config) == [], f"{stage.name} has something left"
        assert live_rows(home) == live_rows(reference)
        check_agreement(home)
        state = home.view().state
        for stage in STAGES.values():
            consumed = [
                item.batch_id for row in state.published.values() if row.stage == stage.name for item in row.inputs
            ]
            assert len(consumed) == len(set(consumed)) == len(origins), f"{stage.name} consumed an input twice"
        activations = [row.stage for row in state.rows if row.kind == "activate"]
        assert sorted(activations) == ["embed", "extract", "fuse"], "racing drivers activated a recipe twice"


def prepared(root: Path, origins: range) -> Home:
    """A home in which fuse is the next stage to run."""
    config = toychain.make_config(root)
    home = Home.open(config.catalog)
    for origin in origins:
        pages = {"pages": toychain.page_rows(origin)}
        home.publish_origin(toychain.CRAWL, f"segment-{origin}", toychain.PER_ORIGIN, pages, {})
    toychain.run_extract(home, config)
    toychain.run_embed(home, config)
    return home


def join(home: Home, root: Path, count: int) -> Plan:
    """The plan that joins the first `count` batches that fuse has to do."""
    batches = home.todo(FUSE, toychain.make_config(root))[:count]
    view = home.view()
    tables = [view.read("documents", batches=[batch.batch_id]) for batch in batches]
    inputs = tuple(Input(batch, rows.num_rows) for batch, rows in zip(batches, tables, strict=True))
    return Plan(inputs, view.read("documents", batches=[batch.batch_id for batch in batches]), "document_id")


def test_a_join_gives_way_when_one_of_its_inputs_was_taken_and_leaves_nothing_visible(tmp_path: Path) -> None:
    config = toychain.make_config(tmp_path)
    with prepared(tmp_path, range(3)) as home:
        mine, theirs = join(home, tmp_path, 3), join(home, tmp_path, 1)
        with Home.open(config.catalog) as other:
            other.publish(FUSE, config, [theirs], toychain.Fuse, toychain.RESOURCES)
        before = live_rows(home)
        with pytest.raises(CommitConflict, match=r"another run consumed batch .* meanwhile; run again"):
            home.publish(FUSE, config, [mine], toychain.Fuse, toychain.RESOURCES)
        assert live_rows(home) == before
        report = toychain.run_fuse(home, config)
        assert (report.batches, report.num_in) == (1, sum(item.num_in for item in mine.inputs[1:]))
        check_agreement(home)


def test_a_join_that_loses_at_the_very_last_commit_is_invisible_too(tmp_path: Path) -> None:
    """The other driver publishes after our tables are committed and before our ledger row is."""
    config = toychain.make_config(tmp_path)
    with prepared(tmp_path, range(2)) as home, Home.open(config.catalog) as other:
        mine, theirs = join(home, tmp_path, 2), join(home, tmp_path, 1)
        append = home.ledger.append

        def late(propose: object) -> object:
            other.publish(FUSE, config, [theirs], toychain.Fuse, toychain.RESOURCES)
            return append(propose)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(home.ledger, "append", late)
            with pytest.raises(CommitConflict):
                home.publish(FUSE, config, [mine], toychain.Fuse, toychain.RESOURCES)
        lost = ids.batch_id("fuse", pipeline.recipe(FUSE, config), [item.batch.batch_id for item in mine.inputs])
        assert home.store.holds(home.store.load("examples"), lost), "the tables were committed before the ledger"
        assert lost not in home.view().live_ids
        toychain.run_fuse(home, config)
        with toychain.drive(tmp_path / "reference", range(2)) as reference:
            assert live_rows(home) == live_rows(reference)


def test_the_same_batch_worked_on_by_two_drivers_is_published_by_the_first(tmp_path: Path) -> None:
    config = toychain.make_config(tmp_path)
    with prepared(tmp_path, range(1)) as home, Home.open(config.catalog) as other:
        mine, theirs = join(home, tmp_path, 1), join(home, tmp_path, 1)
        append = home.ledger.append

        def late(propose: object) -> object:
            other.publish(FUSE, config, [theirs], toychain.Fuse, toychain.RESOURCES)
            return append(propose)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(home.ledger, "append", late)
            report = home.publish(FUSE, config, [mine], toychain.Fuse, toychain.RESOURCES)
        assert (report.batches, report.num_in, report.outputs) == (0, 0, {})
        check_agreement(home)


def test_an_origin_published_twice_is_one_batch(tmp_path: Path) -> None:
    config = toychain.make_config(tmp_path)
    with Home.open(config.catalog) as home, Home.open(config.catalog) as other:
        pages = {"pages": toychain.page_rows(0)}
        assert home.publish_origin(toychain.CRAWL, "s", toychain.PER_ORIGIN, pages, {}).batches == 1
        assert other.publish_origin(toychain.CRAWL, "s", toychain.PER_ORIGIN, pages, {}).batches == 0
        check_agreement(home, ("pages", "rejects"))


def test_settings_changed_there_and_back_find_their_rows_without_recomputing(tmp_path: Path) -> None:
    with toychain.drive(tmp_path / "home", range(3), "A") as home:
        rows_a, seq_a = live_rows(home), home.view().seq
        shards_a = finished_parts(tmp_path / "home" / "warehouse")
        toychain.drive(tmp_path / "home", range(3), "B").close()
        rows_b, seq_b = live_rows(home), home.view().seq
        for name in ("documents", "text_features", "examples"):
            assert len(rows_b[name]) == len(rows_a[name])
            assert not set(rows_b[name]) & set(rows_a[name])
        assert rows_b["pages"] == rows_a["pages"]
        shards_b = finished_parts(tmp_path / "home" / "warehouse")
        assert shards_b.items() > shards_a.items()

        toychain.drive(tmp_path / "home", range(3), "A").close()
        assert live_rows(home) == rows_a
        after = [row for row in home.view().state.rows if row.seq > seq_b]
        assert [(row.kind, row.stage) for row in after] == [("activate", name) for name in ("extract", "embed", "fuse")]
        assert finished_parts(tmp_path / "home" / "warehouse") == shards_b
        assert seq_b > seq_a
        check_agreement(home)

        toychain.drive(tmp_path / "home", range(4), "A").close()  # new input is done under the settings of now
        assert len(home.view().live("extract")) == 4
        toychain.drive(tmp_path / "home", range(4), "B").close()  # and only that input is missing under B
        state = home.view().state
        published = [row for row in state.rows if row.kind == "publish" and row.stage == "extract"]
        assert len(published) == 4 + 4
        assert live_rows(home)["documents"] != rows_b["documents"]
        assert set(live_rows(home)["documents"]) > set(rows_b["documents"])


def test_a_view_stays_as_it_was_while_others_publish(tmp_path: Path) -> None:
    with toychain.drive(tmp_path, range(2)) as home:
        view = home.view()
        before = view.read("documents").num_rows
        toychain.drive(tmp_path, range(3), "B").close()
        assert view.read("documents").num_rows == before
        page = view.read("pages")["page_id"][0].as_py()
        assert view.lookup("documents", "document_id", [page])["text"].to_pylist()[0].startswith("A ")
        assert home.view().lookup("documents", "document_id", [page])["text"].to_pylist()[0].startswith("B ")


def test_a_stage_that_publishes_alone_gives_way_to_any_other_of_its_batches(tmp_path: Path) -> None:
    alone = replace(EXTRACT, alone=True)
    config = toychain.make_config(tmp_path)
    with Home.open(config.catalog) as home, Home.open(config.catalog) as other:
        for origin in range(2):
            pages = {"pages": toychain.page_rows(origin)}
            home.publish_origin(toychain.CRAWL, f"s{origin}", toychain.PER_ORIGIN, pages, {})
        first, second = home.todo(alone, config)
        view = home.view()
        plans = [
            Plan((Input(b, toychain.PER_ORIGIN),), view.read("pages", batches=[b.batch_id]), "page_id", seq=view.seq)
            for b in (first, second)
        ]
        worker = partial(toychain.Extract, "A")
        assert other.publish(alone, config, [plans[0]], worker, toychain.RESOURCES).batches == 1
        with pytest.raises(CommitConflict, match="another run published batch"):
            home.publish(alone, config, [plans[1]], worker, toychain.RESOURCES)
        again = Plan(plans[1].inputs, plans[1].rows, "page_id", seq=home.view().seq)
        assert home.publish(alone, config, [again], worker, toychain.RESOURCES).batches == 1


def test_a_batch_published_or_put_off_after_a_view_was_taken_is_read_whole(tmp_path: Path) -> None:
    """A driver plans with the view that it has; an input read as empty would be published as empty, for good."""
    config = toychain.make_config(tmp_path)
    with toychain.drive(tmp_path, range(1)) as home:
        view = home.view()
        toychain.drive(tmp_path, range(2)).close()
        (_, newer) = home.view().live("crawl")
        assert newer.batch_id not in view.live_ids
        assert view.read("pages", batches=[newer.batch_id]).num_rows == toychain.PER_ORIGIN
        (batch, _) = home.view().live("extract")
        toychain.drive(tmp_path, range(2), "B").close()
        assert batch.batch_id not in home.view().live_ids
        rows = home.view().read("documents", batches=[batch.batch_id])
        assert rows.num_rows == batch.outputs["documents"]
        assert toychain.run_embed(home, config).batches == 0
