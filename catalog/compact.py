"""Compaction: many small shards of published batches become few large files, in one commit a table.

A large file holds whole batches in order of their ids; within a batch rows keep the order of their shards. So batches
are still found by the statistics of row groups, ids and rows are untouched, and what holds files by URL (the key index)
follows as it follows any other change. The old shards stay on disk for the collector (see catalog/collect.py).
"""

import hashlib
import heapq
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table import Table

from catalog import failpoint, files
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.schema import TABLES
from catalog.settings import MaintenanceSettings
from catalog.shards import ROW_GROUP, filled
from catalog.store import committing

MANIFEST = b"headrace.compacted"  # a large file's Parquet metadata: its group, and its rows by batch
FOLDER = "compacted"
BUFFER_BYTES = 8 << 20  # of rows in a row group: who reads one batch decodes a row group
Run = tuple[str, str, int, Callable[[], pa.Table]]  # batch, file name, position: one batch's rows in one file


@dataclass(frozen=True)
class DataFile:
    """One file of a table and the batches whose rows it holds."""

    url: str
    size: int
    rows: int
    batches: frozenset[str]

    @property
    def is_large(self) -> bool:
        """Tell whether compaction wrote it."""
        return self.url.rsplit("/", 2)[1] == FOLDER


def compact(home: Home, table: str, settings: MaintenanceSettings) -> dict[str, int]:
    """Merge a table's small files of published batches if there are enough; return how many became how many."""
    iceberg = home.store.load(table)
    published = home.ledger.refresh().published.keys()
    chosen = choose(data_files(iceberg), published, settings)
    if not chosen:
        return {"from": 0, "to": 0}
    written = _write(home.warehouse, table, chosen, int(settings.file_mb * 1e6))
    failpoint.reach("maintain-written")
    old = [file.url for file in chosen]

    def attempt() -> bool:
        fresh = home.store.load(table)
        there = set(home.store.plan(fresh, None))
        if there.issuperset(old) and there.isdisjoint(written):
            home.store.swap(fresh, old, written)
            failpoint.reach("maintain-swapped")
        return there.issuperset(written) or there.issuperset(old)

    done = committing(attempt, f"table {table}")
    return {"from": len(old), "to": len(written)} if done else {"from": 0, "to": 0}


def data_files(iceberg: Table) -> list[DataFile]:
    """List a table's files in its present snapshot."""
    tasks = [task.file for task in iceberg.scan().plan_files()]
    return [
        DataFile(file.file_path, file.file_size_in_bytes, file.record_count, _batches(file.file_path)) for file in tasks
    ]


def _batches(url: str) -> frozenset[str]:
    """Name the batches in a file: a shard's folder is its batch, a large file lists them, others are asked."""
    *_, where, batch, _ = url.rsplit("/", 3)
    if batch != FOLDER and f"/data/{where}/" in url and where in TABLES:
        return frozenset([batch])
    listed = read_manifest(url)
    if listed is not None:
        return frozenset(listed["rows"])
    fs, path = files.open_fs(url)
    with fs.open(path, "rb") as file:
        return frozenset(pq.read_table(file, columns=["batch_id"])["batch_id"].unique().to_pylist())


def read_manifest(url: str) -> Mapping[str, Mapping[str, int]] | None:
    """Return what a large file says of itself; None if compaction did not write it; raise Corrupt if unreadable."""
    fs, path = files.open_fs(url)
    try:
        with fs.open(path, "rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(f"{url} cannot be read: {error}; run headrace doctor") from error
    found: Mapping[str, Mapping[str, int]] | None = json.loads(metadata[MANIFEST]) if MANIFEST in metadata else None
    return found


def choose(found: Iterable[DataFile], published: Iterable[str], settings: MaintenanceSettings) -> list[DataFile]:
    """Choose the files to merge: small ones whose batches are published and have no other files.

    Of files that were merged before, only those that are not larger than all smaller ones together: so a row is written
    again a logarithmic number of times, however often the home is maintained.
    """
    published = set(published)
    found = sorted(found, key=lambda file: (file.size, file.url))
    limit = settings.file_mb * 1e6 / 2
    unfit = {batch for file in found if file.size >= limit for batch in file.batches}
    spread = True
    while spread:  # a batch that stays keeps the files in place that it shares with others
        staying = [file for file in found if not unfit.isdisjoint(file.batches) or not file.batches <= published]
        more = {batch for file in staying for batch in file.batches} - unfit
        unfit, spread = unfit | more, bool(more)
    chosen: list[DataFile] = []
    for file in found:
        if unfit.isdisjoint(file.batches) and file.batches:
            if file.is_large and file.size > sum(smaller.size for smaller in chosen):
                break
            chosen.append(file)
    return chosen if len(chosen) >= settings.min_files else []


def _write(warehouse: str, table: str, chosen: Sequence[DataFile], file_bytes: int) -> list[str]:
    """Write the rows of the chosen files as files of about `file_bytes`, in order of batches; return their URLs."""
    group = hashlib.sha256("\n".join(sorted(file.url for file in chosen)).encode()).hexdigest()[:32]
    writer = _LargeFiles(files.join(warehouse, "data", table, FOLDER), table, group, file_bytes)
    for batch, _, _, load in heapq.merge(*(_runs(file, table) for file in chosen), key=lambda run: run[:3]):
        writer.add(batch, load())
    return writer.close()


def _runs(file: DataFile, table: str) -> Iterator[Run]:
    """Yield the rows of each batch in a file, in the file's order; nothing is read before it is asked for."""
    name = file.url.rsplit("/", 1)[1]
    if len(file.batches) == 1:
        yield next(iter(file.batches)), name, 0, partial(_read, file.url, table)
        return
    rows = _read(file.url, table)
    ids = rows["batch_id"].combine_chunks()
    if len(rows) == 0:
        return
    changes = pc.indices_nonzero(pc.not_equal(ids[1:], ids[:-1])).to_pylist()
    edges = [0, *(at + 1 for at in changes), len(ids)]
    order = [ids[at].as_py() for at in edges[:-1]]
    assert order == sorted(set(order)), f"{file.url}: a large file holds its batches in order"
    for position, (start, end) in enumerate(pairwise(edges)):
        yield order[position], name, position, partial(rows.slice, start, end - start)


def _read(url: str, table: str) -> pa.Table:
    fs, path = files.open_fs(url)
    try:
        with fs.open(path, "rb") as file:
            return filled(pq.read_table(file), TABLES[table])
    except (OSError, pa.ArrowInvalid) as error:
        raise Corrupt(f"{url} cannot be read: {error}; run headrace doctor") from error


class _LargeFiles:
    """Cuts a stream of rows into row groups and files."""

    def __init__(self, folder: str, table: str, group: str, file_bytes: int) -> None:
        self._folder, self._schema, self._group, self._file_bytes = folder, TABLES[table], group, file_bytes
        self._waiting: list[pa.Table] = []
        self._counts: dict[str, int] = defaultdict(int)
        self._sink: io.BytesIO | None = None
        self._writer: pq.ParquetWriter | None = None
        self._urls: list[str] = []

    def add(self, batch: str, rows: pa.Table) -> None:
        """Take the next rows."""
        for start in range(0, rows.num_rows, ROW_GROUP):
            piece = rows.slice(start, ROW_GROUP)
            self._waiting.append(piece)
            self._counts[batch] += piece.num_rows
            waiting = sum(table.num_rows for table in self._waiting)
            if waiting >= ROW_GROUP or sum(table.nbytes for table in self._waiting) >= BUFFER_BYTES:
                self._flush()
                if self._sink is not None and self._sink.tell() >= self._file_bytes:
                    self._finish()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._sink = io.BytesIO()
            self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROW_GROUP)
        self._waiting = []

    def _finish(self) -> None:
        """Write one file under a name that its hash gives."""
        if self._writer is None or self._sink is None:
            return
        manifest = {"group": self._group, "rows": dict(sorted(self._counts.items()))}
        self._writer.add_key_value_metadata({MANIFEST: json.dumps(manifest).encode()})
        self._writer.close()
        data = self._sink.getvalue()
        name = f"{len(self._urls):06d}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        url = files.join(self._folder, name)
        files.write_new(url, data)
        self._urls.append(url)
        self._writer = self._sink = None
        self._counts.clear()

    def close(self) -> list[str]:
        """Write what is left; return the URLs of all files."""
        self._flush()
        self._finish()
        return self._urls
