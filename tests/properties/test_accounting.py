"""Closed books: whatever comes in is processed, rejected, reused or skipped, and nothing else is live."""

import itertools
from collections.abc import Iterator, Mapping
from random import Random

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import schema
from catalog.home import Home, Input, Plan
from catalog.ledger import InputCounts, Row, State, now
from catalog.proving import toychain
from catalog.proving.model import live_batches
from catalog.schema import Reason
from catalog.settings import Resources
from catalog.shards import cut
from catalog.stage import Stage, StageReport

PAGES = st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=9)  # rejected?, and else how many documents
SLOW = settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FAST = settings(max_examples=300, deadline=None, derandomize=True)


STAGE = Stage("extract", ("crawl",), ("documents",), 1, lambda _: {}, lambda *_: StageReport("extract"))
KEYS = itertools.count()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.pipeline.stages", lambda: {"crawl": toychain.CRAWL, "extract": STAGE})
        with Home.open(toychain.make_config(tmp_path_factory.mktemp("home")).catalog) as opened:
            yield opened


class Worker:
    """Does with each page what its row says: rejects it, or makes so many documents of it."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        documents, rejected = [], []
        for row in part.to_pylist():
            if row["reason"] == "rejected":
                rejected.append({"record_id": row["page_id"], "reason": Reason.TOO_SHORT.value})
            documents += [
                {"document_id": f"{row['page_id']}-{k}", "page_id": row["page_id"]} for k in range(row["status"])
            ]
        return {
            "documents": pa.Table.from_pylist(documents, schema=schema.body("documents")),
            "rejects": schema.rejects("extract", rejected),
        }


@SLOW
@given(pages=PAGES, part_rows=st.integers(1, 4), reused=st.integers(0, 2), skipped=st.integers(0, 2))
def test_the_books_of_every_batch_close(
    home: Home, pages: list[tuple[bool, int]], part_rows: int, reused: int, skipped: int
) -> None:
    key = f"{next(KEYS)}"
    rows = [
        {"page_id": f"{key}/{k}", "reason": "rejected" if bad else None, "status": 0 if bad else count}
        for k, (bad, count) in enumerate(pages)
    ]
    config = toychain.make_config(home.root)
    table = pa.Table.from_pylist(rows, schema=schema.body("pages"))
    origin = home.publish_origin(toychain.CRAWL, key, len(rows), {"pages": table}, {})
    assert (origin.num_in, origin.num_processed, origin.outputs.get("pages", 0)) == (len(rows),) * 3
    (batch,) = home.todo(STAGE, config)
    given_rows = home.view().read("pages", batches=[batch.batch_id])
    given_in = Input(batch, len(rows) + reused + skipped, reused, skipped)
    done = home.publish(STAGE, config, [Plan((given_in,), given_rows, "page_id", part_rows)], Worker, Resources())
    num_rejected = sum(bad for bad, _ in pages)
    num_documents = sum(count for bad, count in pages if not bad)
    assert done.num_in == done.num_processed + done.num_rejected + done.num_reused + done.num_skipped
    assert (done.num_processed, done.num_rejected) == (len(rows) - num_rejected, num_rejected)
    assert (done.num_reused, done.num_skipped) == (reused, skipped)
    assert home.todo(STAGE, config) == []
    (made,) = [
        row for row in home.view().state.rows if row.kind == "publish" and row.inputs[0].batch_id == batch.batch_id
    ]
    assert made.inputs == (InputCounts(batch.batch_id, done.num_in, done.num_processed, num_rejected, reused, skipped),)
    assert made.outputs.get("documents", 0) == num_documents
    assert sum(made.rejects.values()) == num_rejected
    view = home.view()
    assert view.read("documents", batches=[made.batch_id]).num_rows == num_documents
    assert view.read("rejects", batches=[made.batch_id]).num_rows == num_rejected
    parts = max(1, -(-len(rows) // part_rows))
    assert len(list((home.root / "warehouse" / "data" / "rejects" / made.batch_id).iterdir())) == parts


@pytest.mark.parametrize(("num_in", "reused", "skipped"), [(1, 0, 0), (3, 2, 0), (3, 0, 2), (3, 1, 1)])
def test_more_rows_accounted_for_than_came_in_are_refused(home: Home, num_in: int, reused: int, skipped: int) -> None:
    config = toychain.make_config(home.root)
    rows = pa.Table.from_pylist(
        [{"page_id": f"x{k}", "reason": "rejected", "status": 0} for k in range(2)], schema=schema.body("pages")
    )
    home.publish_origin(toychain.CRAWL, f"{next(KEYS)}", 2, {"pages": rows}, {})
    batch = home.todo(STAGE, config)[-1]
    plan = Plan((Input(batch, num_in, reused, skipped),), rows, "page_id")
    seq = home.view().seq
    with pytest.raises(AssertionError, match="accounted for"):
        home.publish(STAGE, config, [plan], Worker, Resources())
    assert home.view().seq == seq
    home.publish(STAGE, config, [Plan((Input(batch, 2),), rows, "page_id")], Worker, Resources())


@FAST
@given(
    ids=st.sets(st.text(max_size=4), max_size=30), part_rows=st.integers(1, 9), seed=st.randoms(use_true_random=False)
)
def test_parts_hold_every_row_once_in_order_whatever_the_blocks(ids: set[str], part_rows: int, seed: Random) -> None:
    rows = sorted(ids)
    seed.shuffle(rows)
    cuts = sorted(seed.sample(range(len(rows) + 1), min(2, len(rows))))
    blocks = [rows[a:b] for a, b in itertools.pairwise([0, *cuts, len(rows)])]
    table = pa.chunked_array([pa.array(block, pa.string()) for block in blocks], pa.string())
    parts = list(cut("b", pa.table({"id": table}), "id", part_rows))
    assert [name for part in parts for name in part.rows["id"].to_pylist()] == sorted(ids, key=lambda i: i.encode())
    assert [part.key.index for part in parts] == list(range(len(parts)))
    assert all(part.key.num_rows == part.rows.num_rows for part in parts)
    assert all(part.rows.num_rows == part_rows for part in parts[:-1])
    assert len(parts) == max(1, -(-len(ids) // part_rows))
    assert len({part.key.input_hash for part in parts}) == len(parts)
    other = list(cut("b", pa.table({"id": sorted(ids)}, schema=pa.schema([("id", pa.string())])), "id", part_rows))
    assert [part.key for part in other] == [part.key for part in parts]


@st.composite
def ledgers(draw: st.DrawFn) -> list[Row]:
    """Ledger rows of two stages, three recipes and three origins, in any order that appending allows."""
    rows: list[Row] = []
    batches: list[str] = []
    for seq in range(1, draw(st.integers(0, 16)) + 1):
        kind = draw(st.sampled_from(["publish", "publish", "publish", "activate", "revoke", "restore", "tag"]))
        stage, recipe = draw(st.sampled_from(["s", "t"])), draw(st.sampled_from(["A", "B", "C"]))
        some = tuple(draw(st.sets(st.sampled_from(batches), max_size=3))) if batches else ()
        row = Row(seq=seq, kind="activate" if kind == "restore" else kind, stage=stage, time=now())
        fields: dict[str, object] = {}
        if kind == "publish":
            batches.append(f"b{seq}")
            origins = tuple(sorted(draw(st.sets(st.sampled_from("123"), min_size=1))))
            fields = {"batch_id": f"b{seq}", "settings_hash": recipe, "origins": origins}
        elif kind == "activate":
            fields = {"settings_hash": recipe}
        elif kind in ("revoke", "restore"):
            fields = {"targets": some}
        rows.append(Row(**{**row.__dict__, **fields}))
    return rows


@FAST
@given(rows=ledgers(), order=st.randoms(use_true_random=False))
def test_what_is_live_equals_a_replay_of_the_contract(rows: list[Row], order: Random) -> None:
    expected = live_batches(rows)
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert set(State(shuffled).live) == expected


@FAST
@given(rows=ledgers())
def test_no_input_that_was_published_for_is_left_without_live_rows(rows: list[Row]) -> None:
    state = State(rows)
    covered = {(row.stage, origin) for row in state.live.values() for origin in row.origins}
    on = [row for row in state.published.values() if row.batch_id not in state.revoked]
    assert covered == {(row.stage, origin) for row in on for origin in row.origins}
