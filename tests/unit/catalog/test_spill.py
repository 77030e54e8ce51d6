"""Sorting by way of the disk gives what sorting in memory gives, and holds a part of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.ids import make_id
from catalog.spill import in_order

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("spans", pa.list_(pa.struct([("at", pa.int64())])))])


def tables(numbers: list[int], rows: int, size: int = 5) -> Iterator[pa.Table]:
    """Tables of so many rows with unique ids, in no order."""
    for start in range(0, len(numbers), rows):
        made = [
            {"id": make_id("row", str(n)), "text": str(n) * size, "spans": [{"at": n}] * (n % 3)}
            for n in numbers[start : start + rows]
        ]
        yield pa.Table.from_pylist(made, schema=SCHEMA)


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(0, 10_000), min_size=0, max_size=300), st.integers(1, 60), st.sampled_from([1, 2000, 1 << 20])
)
def test_any_limit_gives_the_same_order(numbers: set[int], rows: int, limit: int) -> None:
    given_rows = [row for table in tables(sorted(numbers), rows) for row in table.to_pylist()]
    found = list(in_order(tables(sorted(numbers), rows), "id", limit))
    assert [row for table in found for row in table.to_pylist()] == sorted(given_rows, key=lambda row: row["id"])
    assert all(table.schema == SCHEMA for table in found)


def test_more_than_the_limit_is_never_held_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    limit = 1 << 18
    before = pa.total_allocated_bytes()
    held: list[int] = []

    def watched(found: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in found:
            yield table
            held.append(pa.total_allocated_bytes() - before)

    total = sum(table.nbytes for table in watched(in_order(watched(tables(list(range(3_000)), 100, 200)), "id", limit)))
    assert total > 8 * limit
    assert max(held) < 3 * limit
    assert list(tmp_path.iterdir()) == [], "it left files behind"
