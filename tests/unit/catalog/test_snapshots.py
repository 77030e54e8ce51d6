"""Snapshots: going back to a seq shows what it showed, in every table and to every consumer, and can be undone."""

import io
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import storybook
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from catalog import drift, run, snapshots, sql
from catalog.errors import InputError
from catalog.export import current_examples
from catalog.home import Home
from catalog.ledger import Row, State
from catalog.proving import toychain
from catalog.proving.agreement import check_agreement, live_rows
from catalog.proving.toychain import CRAWL, EMBED, STAGES
from catalog.stage import Stage, StageReport
from catalog.vectors import VectorIndex

TRAIN = Stage(
    "train", ("fuse",), (), 1, toychain._flavour, lambda home, config: StageReport("train"), joins=True, forever=True
)
TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to which two origins came at first and two more later; the seq between them is tagged `good`."""
    root = tmp_path_factory.mktemp("snapshots") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.pipeline.stages", lambda: STAGES)
        with toychain.drive(root, range(2)) as first:
            snapshots.tag(first, "good", None, False)
        toychain.drive(root, range(4)).close()
    shutil.copytree(root, root.with_name("copy"))
    return root


@pytest.fixture
def home(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """That home, opened; whatever a test does to it is undone."""
    monkeypatch.setattr("catalog.pipeline.stages", lambda: STAGES)
    with Home.open(toychain.make_config(built).catalog) as home:
        yield home
    shutil.rmtree(built)
    shutil.copytree(built.with_name("copy"), built)


def shown(render: object, result: dict, width: int = 160) -> str:
    sink = io.StringIO()
    render(result, Console(file=sink, width=width))  # type: ignore[operator]
    json.dumps(result)
    return sink.getvalue()


def test_a_rollback_shows_what_was_shown_and_is_undone_by_another(home: Home) -> None:
    after, last = live_rows(home), home.view().seq
    then = home.view(at=snapshots.resolve(home.view().state, "good"))
    expected = {name: then.read(name).num_rows for name in after}
    assert 0 < expected["documents"] < len(after["documents"])
    dry = snapshots.rollback(home, "good", True)
    assert (home.view().seq, live_rows(home)) == (last, after), "a dry run changed something"
    result = snapshots.rollback(home, "good", False)
    assert {**dry, "dry_run": False} == result
    assert result["revoked"] == {"crawl": 2, "extract": 2, "embed": 2, "fuse": 1}
    assert {name: len(rows) for name, rows in live_rows(home).items()} == expected
    check_agreement(home)
    assert snapshots.rollback(home, "good", False)["revoked"] == {}
    assert home.view().seq == last + 1, "going back to where one is adds nothing"
    back = snapshots.rollback(home, str(result["from"]), False)
    assert back["activated"] == result["revoked"]
    assert live_rows(home) == after
    check_agreement(home)
    assert "examples: " in shown(snapshots.render_rollback, result)
    assert "turned on again" in shown(snapshots.render_rollback, back)


def test_indexes_follow_both_ways(home: Home, tmp_path: Path) -> None:
    index = VectorIndex(tmp_path / "indexes", "text_features", "", "")
    whole = home.view()
    index.refresh(whole)
    documents = whole.read("documents")["document_id"].to_pylist()
    snapshots.rollback(home, "good", False)
    kept = set(home.view().read("documents")["document_id"].to_pylist())
    assert index.refresh(home.view())
    assert set(home.view().lookup("documents", "document_id", documents)["document_id"].to_pylist()) == kept
    assert index.batches == {batch.batch_id for batch in home.view().live("embed")}
    snapshots.rollback(home, str(whole.seq), False)
    index.refresh(home.view())
    assert index.batches == {batch.batch_id for batch in whole.live("embed")}
    assert home.view().lookup("documents", "document_id", documents).num_rows == len(documents)


def test_later_runs_leave_off_what_was_rolled_back_and_say_so_until_asked(home: Home) -> None:
    config = toychain.make_config(home.root)
    after = live_rows(home)
    snapshots.rollback(home, "good", False)
    seq = home.view().seq
    result = run.run(config)
    assert [report["batches"] for report in result["stages"]] == [0, 0, 0, 0]
    assert result["seq"] == seq, "a run republished or activated something"
    notes = {report["stage"]: report["notes"] for report in result["stages"]}
    assert notes["embed"] == ["2 batches stay off as they were rolled back; headrace run --again brings them back"]
    for _ in range(2):
        assert not any(report["notes"] for report in run.run(config, again=True)["stages"])
        assert live_rows(home) == after
    toychain.drive(home.root, range(5)).close()
    assert home.view().state.live.keys() > set(home.view(at=seq - 1).state.live), "new work goes on"
    check_agreement(home)


def test_a_round_that_was_rolled_back_is_not_trained_again(home: Home) -> None:
    def consume(config: toychain.Config) -> int:
        batches = home.todo(TRAIN, config)
        nothing = storybook.pa.table({"example_id": storybook.pa.array([], storybook.pa.string())})
        plan = toychain.Plan(tuple(toychain.Input(batch, 0) for batch in batches), nothing, "example_id")
        return home.publish(TRAIN, config, [plan], lambda: lambda part: {}, toychain.RESOURCES).batches

    config = toychain.make_config(home.root)
    before, fused = home.view().seq, {batch.batch_id for batch in home.view().live("fuse")}
    assert consume(config) == 1
    assert home.view().state.consumed("train", None) == fused
    snapshots.rollback(home, str(before), False)
    assert home.view().state.consumed("train", None) == set(), "the consumed set follows"
    assert home.todo(TRAIN, config) == []
    snapshots.rollback(home, str(before + 1), False)
    assert home.view().state.consumed("train", None) == fused


def test_what_people_said_and_had_removed_outlasts_a_rollback(home: Home) -> None:
    stage = storybook.replace(CRAWL, name="review", tables=("reviews",))
    rows = storybook.pa.Table.from_pylist(
        [{"review_id": "r", "verdict": "bad"}], schema=storybook.schema.body("reviews")
    )
    home.publish_origin(stage, "r", 1, {"reviews": rows}, {})
    assert "review" not in snapshots.rollback(home, "good", False)["revoked"]
    assert home.view().read("reviews").num_rows == 1


def test_earlier_rows_can_be_read_by_sql_view_and_export(home: Home) -> None:
    at = snapshots.resolve(home.view().state, "good")
    then = home.view(at)
    count = then.read("documents").num_rows
    assert sql.query(home, "SELECT count(*) AS n FROM documents", at)["rows"] == [{"n": count}]
    assert then.seq == at
    documents = home.view().read("documents")["document_id"].to_pylist()
    assert then.lookup("documents", "document_id", documents).num_rows == count
    assert current_examples(home).num_rows > count


def test_the_list_tells_what_each_snapshot_changed(home: Home) -> None:
    snapshots.rollback(home, "good", False)
    result = snapshots.snapshots(home, 3)
    assert (len(result["snapshots"]), result["total"]) == (3, home.view().seq)
    newest, before = result["snapshots"][:2]
    good = snapshots.resolve(home.view().state, "good")
    assert newest["change"] == f"revoke 7 batches (back to {good})"
    assert newest["rows"]["documents"] < before["rows"]["documents"]
    assert before["change"].startswith("fuse: +")
    tagged = next(item for item in snapshots.snapshots(home, 99)["snapshots"] if item["tags"])
    assert (tagged["seq"], tagged["tags"]) == (good, ["good"])
    assert "more" in shown(snapshots.render_list, result)
    assert "documents" in shown(snapshots.render_list, result)
    assert f"revoke 7 batches (back to {good})" in shown(snapshots.render_list, result, 80), "words below each other"


def test_tags_are_moved_only_when_asked_and_unknown_names_say_what_there_is(home: Home) -> None:
    with pytest.raises(InputError, match="tag good names seq 10 already; pass --move"):
        snapshots.tag(home, "good", None, False)
    assert snapshots.tag(home, "good", "3", True) == {"tag": "good", "seq": 3}
    assert "good names seq 3" in shown(snapshots.render_tag, {"tag": "good", "seq": 3})
    state = home.view().state
    assert snapshots.resolve(state, "good") == 3
    with pytest.raises(InputError, match=r"nix: no such tag, there are good"):
        snapshots.resolve(state, "nix")
    with pytest.raises(InputError, match=r"999: the ledger ends at seq \d+"):
        snapshots.resolve(state, "999")
    with pytest.raises(InputError, match="a tag is a word"):
        snapshots.tag(home, "12", None, False)


def test_a_diff_counts_rows_and_ids_and_measures_how_shares_moved(tmp_path: Path) -> None:
    with storybook.tell(tmp_path).home as home:
        crawled = {
            "pages": [storybook.page("de", "Hallo", licence="CC0"), storybook.page("fr", "Salut", licence="CC0")]
        }
        last = home.view().seq
        first = next(row["seq"] for row in sql.query(home, "SELECT min(seq) AS seq FROM batches")["rows"])
        assert {item["facet"] for item in drift.diff(home, str(first), None)["facets"]} >= {"entities.label", "split"}
        storybook.put(home, "crawl", storybook.Made(crawled), num_in=2)
        found = drift.diff(home, str(last), None)
        pages = found["tables"]["pages"]
        assert (pages["added"], pages["removed"], pages["new_ids"], pages["gone_ids"]) == (2, 0, 2, 0)
        assert pages["after"] == pages["before"] + 2
        licence = next(item for item in found["facets"] if item["facet"] == "licence")
        share = 2 / pages["after"]
        values = {item["value"]: item for item in licence["values"]}
        assert values["CC0"]["share_after"] == pytest.approx(share)
        assert licence["drift"] == pytest.approx(share)
        text = shown(drift.render, found)
        assert "pages.licence: drift" in text
        assert "█" in text
        opposite = drift.diff(home, str(last + 1), str(last))["tables"]["pages"]
        assert (opposite["added"], opposite["removed"], opposite["gone_ids"]) == (0, 2, 2)
        assert drift.diff(home, str(last), str(last))["facets"] == []


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """Ledgers as drivers write them: a recipe is activated before it publishes; rollbacks come in between."""
    rows: list[Row] = []
    active = {"extract": "A", "embed": "A"}
    rows += [Row(k, "activate", stage, TIME, settings_hash="A") for k, stage in enumerate(active, 1)]
    for _ in range(draw(st.integers(1, 20))):
        seq = len(rows) + 1
        kind = draw(st.sampled_from(["publish", "publish", "publish", "activate", "rollback", "review", "tag"]))
        stage = draw(st.sampled_from(sorted(active)))
        origin = draw(st.sampled_from("123"))
        if kind == "publish":
            name = f"{stage}{active[stage]}{origin}"
            if name not in {row.batch_id for row in rows}:
                rows.append(Row(seq, "publish", stage, TIME, name, active[stage], origins=(origin,)))
        elif kind == "activate":
            active[stage] = draw(st.sampled_from("ABC"))
            rows.append(Row(seq, "activate", stage, TIME, settings_hash=active[stage]))
        elif kind == "review":
            rows.append(
                Row(seq, "publish", "review", TIME, f"r{seq}", "origin", origins=(f"r{seq}",), outputs={"reviews": 1})
            )
        elif kind == "tag":
            rows.append(Row(seq, "tag", "", TIME, name="t", at_seq=seq - 1))
        else:
            state = State(rows)
            rows += snapshots._numbered(state, snapshots.back_to(state, draw(st.integers(0, state.last_seq))))
    return rows


@given(histories(), st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happened_any_snapshot_can_be_gone_to_and_come_back_from(rows: list[Row], data: st.DataObject) -> None:
    state = State(rows)
    seq = data.draw(st.integers(0, state.last_seq))

    def live(shown: State) -> set[str]:
        return {batch for batch, row in shown.live.items() if not row.lasts}

    there = State([*rows, *snapshots._numbered(state, snapshots.back_to(state, seq))])
    assert live(there) == live(state.at(seq))
    assert snapshots.back_to(there, seq) == [], "a second time there is nothing to do"
    assert {batch for batch, row in there.live.items() if row.lasts} == {
        b for b, row in state.live.items() if row.lasts
    }
    back = State([*there.rows, *snapshots._numbered(there, snapshots.back_to(there, state.last_seq))])
    assert live(back) == live(state)


def test_work_that_is_based_on_what_a_rollback_took_back_is_not_published(home: Home) -> None:
    """A driver plans, the rollback comes, the driver commits: its rows would have no documents to belong to."""
    config = toychain.make_config(home.root)
    home.publish_origin(CRAWL, "segment-9", 7, {"pages": toychain.page_rows(9)}, {})
    toychain.run_extract(home, config)
    batch = home.todo(EMBED, config)[0]
    rows = home.view().read("documents", batches=[batch.batch_id])
    plan = toychain.Plan((toychain.Input(batch, rows.num_rows),), rows, "document_id")
    snapshots.rollback(home, "good", False)
    report = home.publish(EMBED, config, [plan], toychain.Embed, toychain.RESOURCES)
    assert report.batches == 0
    assert f"a rollback took back {batch.batch_id}" in report.notes[0]
    assert not [row for row in home.view().live("embed") if batch.batch_id in row.inputs]
