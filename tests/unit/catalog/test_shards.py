"""Shards: parts follow from the sorted ids alone, and a finished part is found again only for the same input."""

import random
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog import schema
from catalog.schema import Reason
from catalog.shards import Part, ShardWriter, conform, cut, find_done, reason_counts

TABLES = ("documents", "media")


def pages(ids: list[str]) -> pa.Table:
    return pa.Table.from_pylist([{"page_id": i, "url": f"http://x/{i}"} for i in ids], schema=schema.body("pages"))


def worker(part: pa.Table) -> Mapping[str, pa.Table]:
    """Documents for all but the ids with an x, which are rejected."""
    kept = [i for i in part["page_id"].to_pylist() if "x" not in i]
    turned = [i for i in part["page_id"].to_pylist() if "x" in i]
    rows = [{"document_id": f"d{i}", "page_id": i} for i in reversed(kept)]
    return {
        "documents": pa.Table.from_pylist(rows, schema=schema.body("documents")),
        "rejects": schema.rejects("extract", [{"record_id": i, "reason": Reason.EMPTY_TEXT.value} for i in turned]),
    }


def parts_of(ids: list[str], part_rows: int = 3) -> list[Part]:
    return list(cut("b", pages(ids), "page_id", part_rows))


def test_parts_are_cut_from_the_sorted_ids() -> None:
    parts = parts_of(["e", "a", "d", "c", "b"], 2)
    assert [part.rows["page_id"].to_pylist() for part in parts] == [["a", "b"], ["c", "d"], ["e"]]
    assert [part.key.index for part in parts] == [0, 1, 2]
    assert [part.key.num_rows for part in parts] == [2, 2, 1]


def test_parts_do_not_depend_on_the_layout_of_blocks() -> None:
    ids = [f"{k:03d}" for k in range(50)]
    expected = parts_of(ids, 7)
    random.Random(1).shuffle(ids)
    blocks = pa.concat_tables([pages(ids[:1]), pages([]), pages(ids[1:20]), pages(ids[20:])])
    assert [part.key for part in cut("b", blocks, "page_id", 7)] == [part.key for part in expected]
    assert [part.rows.to_pylist() for part in cut("b", blocks, "page_id", 7)] == [p.rows.to_pylist() for p in expected]


def test_no_rows_are_one_empty_part() -> None:
    (part,) = parts_of([])
    assert (part.key.index, part.key.num_rows) == (0, 0)


@pytest.mark.parametrize("part_rows", [1, 2, 3])
def test_an_id_twice_is_refused_even_across_parts(part_rows: int) -> None:
    with pytest.raises(AssertionError, match="unique"):
        parts_of(["a", "b", "b", "c"], part_rows)


def test_a_finished_part_is_found_again_with_the_same_answer(tmp_path: Path) -> None:
    writer = ShardWriter(str(tmp_path), TABLES)
    (part,) = parts_of(["b", "x1", "a"])
    done = writer.run(part, worker)
    assert done.rows == {"documents": 2}
    assert done.rejects == {"empty_text": 1}
    assert find_done(str(tmp_path), "b")(part.key) == done
    assert set(done.shards) == {"documents", "rejects"}


def test_a_part_that_lost_a_shard_is_not_finished(tmp_path: Path) -> None:
    (part,) = parts_of(["b", "x1", "a"])
    done = ShardWriter(str(tmp_path), TABLES).run(part, worker)
    Path(done.shards["documents"]).unlink()
    assert find_done(str(tmp_path), "b")(part.key) is None
    assert ShardWriter(str(tmp_path), TABLES).run(part, worker) == done
    assert find_done(str(tmp_path), "b")(part.key) == done


def test_a_part_without_rejects_leaves_its_manifest_and_commits_no_rejects(tmp_path: Path) -> None:
    writer = ShardWriter(str(tmp_path), TABLES)
    (part,) = parts_of(["a"])
    done = writer.run(part, worker)
    assert "rejects" not in done.shards
    assert find_done(str(tmp_path), "b")(part.key) == done
    assert len(list((tmp_path / "data" / "rejects" / "b").iterdir())) == 1


def test_an_empty_part_is_done_too(tmp_path: Path) -> None:
    (part,) = parts_of([])
    done = ShardWriter(str(tmp_path), TABLES).run(part, worker)
    assert (done.shards, done.rows, done.rejects) == ({}, {}, {})
    assert find_done(str(tmp_path), "b")(part.key) == done


def test_a_part_of_other_input_is_not_reused_and_not_replaced(tmp_path: Path) -> None:
    writer = ShardWriter(str(tmp_path), TABLES)
    (before,), (after,) = parts_of(["a", "x1"]), parts_of(["a", "c"])
    first = writer.run(before, worker)
    assert find_done(str(tmp_path), "b")(after.key) is None
    second = writer.run(after, worker)
    find = find_done(str(tmp_path), "b")
    assert (find(before.key), find(after.key)) == (first, second)


def test_a_part_whose_last_shard_is_missing_is_not_done(tmp_path: Path) -> None:
    (part,) = parts_of(["a", "x1"])
    done = ShardWriter(str(tmp_path), TABLES).run(part, worker)
    Path(done.shards["rejects"]).unlink()
    assert find_done(str(tmp_path), "b")(part.key) is None
    assert find_done(str(tmp_path), "another")(part.key) is None


def test_running_a_part_again_writes_the_same_files(tmp_path: Path) -> None:
    writer = ShardWriter(str(tmp_path), TABLES)
    (part,) = parts_of(["a", "x1"])
    first = writer.run(part, worker)
    inodes = {url: Path(url).stat().st_ino for url in first.shards.values()}
    assert writer.run(part, worker) == first
    assert {url: Path(url).stat().st_ino for url in first.shards.values()} == inodes


def test_shards_hold_the_declared_schema_sorted_by_id_with_the_batch(tmp_path: Path) -> None:
    (part,) = parts_of(["c", "a", "b"])
    done = ShardWriter(str(tmp_path), TABLES).run(part, worker)
    rows = pq.read_table(done.shards["documents"])
    assert rows.schema.names == schema.TABLES["documents"].names
    assert rows["document_id"].to_pylist() == ["da", "db", "dc"]
    assert set(rows["batch_id"].to_pylist()) == {"b"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"examples": schema.body("examples").empty_table()}, "undeclared tables"),
        ({"rejects": schema.rejects("e", [{"record_id": "z", "reason": "timeout"}])}, "not in the part"),
        ({"rejects": schema.rejects("e", [{"record_id": "a", "reason": "timeout"}] * 2)}, "rejected twice"),
        ({"rejects": schema.rejects("e", [{"record_id": "a", "reason": "bad mood"}])}, "bad mood"),
        ({"documents": pa.table({"document_id": ["a"], "colour": ["red"]})}, "undeclared columns"),
    ],
)
def test_a_worker_that_breaks_the_contract_is_stopped(
    tmp_path: Path, outputs: dict[str, pa.Table], message: str
) -> None:
    (part,) = parts_of(["a", "b"])
    with pytest.raises(AssertionError, match=message):
        ShardWriter(str(tmp_path), TABLES).run(part, lambda _: outputs)
    assert find_done(str(tmp_path), "b")(part.key) is None


def test_conform_overrides_a_batch_id_and_fills_absent_columns_with_nulls() -> None:
    rows = conform("documents", pa.table({"batch_id": ["liar"], "document_id": ["d"]}), "b")
    assert rows["batch_id"].to_pylist() == ["b"]
    assert rows["text"].to_pylist() == [None]
    assert rows.schema == schema.TABLES["documents"]


def test_reasons_are_counted() -> None:
    rows = [{"record_id": str(k), "reason": reason} for k, reason in enumerate(["timeout", "trap", "timeout"])]
    assert reason_counts(conform("rejects", schema.rejects("crawl", rows), "b")) == {"timeout": 2, "trap": 1}


@pytest.mark.parametrize(
    ("named", "rejected", "message"),
    [
        (["a", "b"], ["c"], None),
        (["a"], ["c"], "1 rows of part 0 vanished, such as b"),
        (["a", "b", "z"], ["c"], "did not come in, such as z"),
        (["a", "b"], ["b", "c"], "both rejected and processed, such as b"),
    ],
)
def test_a_worker_that_loses_a_row_is_caught(
    tmp_path: Path, named: list[str], rejected: list[str], message: str | None
) -> None:
    rows = pa.table({"page_id": ["a", "b", "c"]})
    part = next(iter(cut("b1", rows, "page_id", 10)))
    documents = [{"document_id": "d" + name, "page_id": name} for name in named]
    refused = [{"record_id": name, "reason": schema.Reason.EMPTY_TEXT.value} for name in rejected]
    outputs = {
        "documents": pa.Table.from_pylist(documents, schema=schema.body("documents")),
        "rejects": schema.rejects("extract", refused),
    }
    writer = ShardWriter(str(tmp_path), ("documents",), {"documents": "page_id"})
    if message is None:
        assert writer.run(part, lambda _: outputs).rows == {"documents": 2}
        return
    with pytest.raises(AssertionError, match=message):
        writer.run(part, lambda _: outputs)
