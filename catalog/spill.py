"""Rows in order of their ids in bounded memory: those that are too many wait on disk, by the first digits of their ids.

DuckDB's ORDER BY carries all columns and may take four fifths of the machine's memory before it uses the disk; with a
lower limit it fails on rows of many kilobytes.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

LIMIT = 64 << 20  # bytes held at once
DIGITS = 2  # ids are hashes in hexadecimal: 256 files of about equal size
COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


def in_order(tables: Iterator[pa.Table], column: str, limit: int = LIMIT) -> Iterator[pa.Table]:
    """Yield the rows of tables of one schema sorted by a column of hexadecimal hashes, holding about `limit` bytes."""
    for held, is_last in _gathered(tables, limit):
        if is_last:
            yield held.sort_by(column)
        else:
            yield from _by_way_of_disk(chain([held], tables), column, limit)
        return


def _gathered(tables: Iterator[pa.Table], limit: int) -> Iterator[tuple[pa.Table, bool]]:
    """Join tables until they exceed `limit` bytes; tell which is the last."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        held.append(table)
        size += table.nbytes
        if size > limit:
            yield pa.concat_tables(held), False
            held, size = [], 0
    if held:
        yield pa.concat_tables(held), True


def _by_way_of_disk(tables: Iterator[pa.Table], column: str, limit: int) -> Iterator[pa.Table]:
    with TemporaryDirectory(prefix="headrace-sort-") as folder:
        with ExitStack() as files:
            writers: dict[str, pa.ipc.RecordBatchFileWriter] = {}
            for held, _ in _gathered(tables, limit // 4):
                for prefix, rows in _split(held.sort_by(column), column):
                    if prefix not in writers:
                        file = pa.ipc.new_file(Path(folder) / prefix, held.schema, options=COMPRESSED)
                        writers[prefix] = files.enter_context(file)
                    writers[prefix].write_table(rows)
        for prefix in sorted(writers):
            with pa.ipc.open_file(Path(folder) / prefix) as file:
                yield file.read_all().sort_by(column)


def _split(rows: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    """Cut sorted rows where the first digits of their ids change."""
    runs = pc.run_end_encode(pc.utf8_slice_codeunits(rows[column].combine_chunks(), 0, DIGITS))
    start = 0
    for prefix, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield prefix, rows.slice(start, end - start)
        start = end
