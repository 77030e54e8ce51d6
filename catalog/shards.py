"""Shards: part k of a batch is rows k·n … (k+1)·n of its id-sorted input; its files are the only record of its work.

A part's outputs are written first, its `rejects` shard last, even when empty. That shard's Parquet metadata names the
part's other shards and the hash of the input ids, so a resumed job sees which parts are whole and for which input.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import failpoint, files
from catalog.errors import Corrupt
from catalog.ids import make_id
from catalog.schema import ROW_ID, TABLES, Reason
from catalog.stage import Worker

if TYPE_CHECKING:
    import pyarrow.dataset as ds

MANIFEST = b"headrace.part"
ROW_GROUP = 50_000
NAME = re.compile(r"\d{6,}-([0-9a-f]{16})\.parquet")


@dataclass(frozen=True)
class PartKey:
    """Which part of which batch, and of which input rows."""

    batch_id: str
    index: int
    num_rows: int
    input_hash: str
    row_id: str


@dataclass(frozen=True)
class Part:
    """One unit of work and of retry."""

    key: PartKey
    rows: pa.Table


@dataclass(frozen=True)
class DonePart:
    """A part whose shards are on disk: rows and shard URL by table, rejected rows by reason."""

    key: PartKey
    shards: Mapping[str, str]
    rows: Mapping[str, int]
    rejects: Mapping[str, int]


@dataclass(frozen=True)
class ShardWriter:
    """What a worker process needs to write parts of one stage."""

    warehouse: str
    tables: tuple[str, ...]
    traces: Mapping[str, str] = field(default_factory=dict)  # Stage.traces

    def run(self, part: Part, work: Worker) -> DonePart:
        """Work on a part and write its shards, `rejects` last."""
        outputs = work(part.rows)
        self._check(part, outputs)
        return write_part(self.warehouse, part.key, outputs, self.tables)

    def _check(self, part: Part, outputs: Mapping[str, pa.Table]) -> None:
        unknown = set(outputs) - {*self.tables, "rejects"}
        assert not unknown, f"worker wrote undeclared tables {sorted(unknown)}"
        if "rejects" in outputs:
            rejected = outputs["rejects"]["record_id"].to_pylist()
            strays = set(rejected) - set(part.rows[part.key.row_id].to_pylist())
            assert not strays, f"rejects name records that were not in the part: {sorted(strays)[:3]}"
            assert len(set(rejected)) == len(rejected), "a record was rejected twice"
            odd = set(outputs["rejects"]["reason"].to_pylist()) - set(Reason)
            assert not odd, f"rejects give reasons that are none of ours: {sorted(map(str, odd))}"
        if self.traces:
            self._check_traces(part, outputs)

    def _check_traces(self, part: Part, outputs: Mapping[str, pa.Table]) -> None:
        """Hold the worker to it that no row vanishes: each is named by an output row or rejected, and not both."""
        named = {
            one for table, column in self.traces.items() if table in outputs for one in _ids(outputs[table], column)
        }
        rejected = _ids(outputs["rejects"], "record_id") if "rejects" in outputs else set()
        came = _ids(part.rows, part.key.row_id)
        lost = came - named - rejected
        assert not lost, f"{len(lost)} rows of part {part.key.index} vanished, such as {min(lost)}"
        assert not named - came, f"output names rows that did not come in, such as {min(named - came)}"
        assert not named & rejected, f"rows both rejected and processed, such as {min(named & rejected)}"


def _ids(rows: pa.Table, column: str) -> set[str]:
    return set(rows[column].to_pylist())


def cut(batch_id: str, rows: pa.Table, row_id: str, part_rows: int) -> Iterator[Part]:
    """Sort rows by id and cut them into parts of `part_rows`; an empty table has one empty part."""
    rows = rows.sort_by(row_id)
    ids = rows[row_id].to_pylist()
    assert len(set(ids)) == len(ids), f"row ids of a plan must be unique ({row_id})"
    for index, start in enumerate(range(0, max(1, len(ids)), part_rows)):
        piece = rows.slice(start, part_rows)
        key = PartKey(batch_id, index, piece.num_rows, make_id("part", *ids[start : start + part_rows]), row_id)
        yield Part(key, piece)


def write_part(warehouse: str, key: PartKey, outputs: Mapping[str, pa.Table], tables: tuple[str, ...]) -> DonePart:
    """Write one part's output tables as shards; rows get their batch_id and are sorted by id."""
    shards: dict[str, str] = {}
    counts: dict[str, int] = {}
    for table in tables:
        rows = outputs.get(table)
        if rows is None or rows.num_rows == 0:
            continue
        shards[table] = _write(warehouse, table, key, conform(table, rows, key.batch_id), None)
        counts[table] = rows.num_rows
        failpoint.reach("shard")
    rejected = outputs.get("rejects")
    rejects = conform("rejects", rejected if rejected is not None else TABLES["rejects"].empty_table(), key.batch_id)
    reasons = reason_counts(rejects)
    manifest = {"input": key.input_hash, "num_in": key.num_rows, "shards": shards, "rows": counts, "rejects": reasons}
    last = _write(warehouse, "rejects", key, rejects, manifest)
    failpoint.reach("part")
    return DonePart(key, shards | ({"rejects": last} if rejects.num_rows else {}), counts, reasons)


def conform(table: str, rows: pa.Table, batch_id: str) -> pa.Table:
    """Give rows their batch_id and the declared schema, sorted by the table's row id."""
    schema = TABLES[table]
    columns = {name: rows[name] for name in rows.column_names if name != "batch_id"}
    unknown = set(columns) - set(schema.names)
    assert not unknown, f"{table}: undeclared columns {sorted(unknown)}"
    missing = {
        f.name: pa.nulls(rows.num_rows, f.type) for f in schema if f.name not in columns and f.name != "batch_id"
    }
    full = {**columns, **missing, "batch_id": pa.array([batch_id] * rows.num_rows, pa.string())}
    return pa.table({name: full[name] for name in schema.names}).cast(schema).sort_by(ROW_ID[table])


def reason_counts(rejects: pa.Table) -> dict[str, int]:
    """Count rejected rows by reason."""
    return {item["values"]: item["counts"] for item in rejects["reason"].value_counts().to_pylist()}


def load(url: str, schema: pa.Schema) -> pa.Table:
    """Read a small file whole, absent columns as nulls; raise Corrupt unless it has the SHA-256 that its name gives."""
    named = NAME.fullmatch(url.rpartition("/")[2])
    try:
        with files.open_read(url) as file:
            data = file.read()
        if named and not hashlib.sha256(data).hexdigest().startswith(named[1]):
            raise Corrupt(f"{url} is damaged: it does not match the SHA-256 in its name; run headrace doctor")
        return filled(pq.ParquetFile(io.BytesIO(data)).read(), schema)
    except FileNotFoundError as error:
        raise Corrupt(f"{url} is missing; run headrace doctor") from error
    except pa.ArrowInvalid as error:
        raise Corrupt(f"{url} cannot be read: {error}; run headrace doctor") from error


def filled(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give rows of an older file the columns that were added to its table since, as nulls."""
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type) for field in schema
    ]
    return pa.Table.from_arrays(columns, names=schema.names).cast(schema)


def open_dataset(urls: Sequence[str], schema: pa.Schema) -> "ds.Dataset":
    """Open data files as one Arrow dataset under the declared schema (columns absent in old files are null)."""
    import pyarrow.dataset as ds  # with which come filters, file systems and formats
    import pyarrow.fs as pafs

    if not urls:
        return ds.dataset(schema.empty_table())
    if files.is_local(urls[0]):
        filesystem, paths = pafs.LocalFileSystem(), [str(files.local_path(url)) for url in urls]
    else:
        fs, _ = files.open_fs(urls[0])
        filesystem, paths = pafs.PyFileSystem(pafs.FSSpecHandler(fs)), [fs._strip_protocol(url) for url in urls]
    return ds.dataset(paths, schema=schema, format="parquet", filesystem=filesystem)


def of_batches(ids: Iterable[str]) -> "ds.Expression":
    """Keep only rows whose batch is among `ids`."""
    import pyarrow.dataset as ds

    return ds.field("batch_id").isin(pa.array(sorted(ids), pa.string()))


def find_done(warehouse: str, batch_id: str) -> Callable[[PartKey], DonePart | None]:
    """List a batch's shards once and return a function that finds the finished shards of a part, if it is whole."""

    @cache
    def there(table: str) -> list[str]:
        return files.list_names(files.join(warehouse, "data", table, batch_id))

    def find(key: PartKey) -> DonePart | None:
        for name in (name for name in there("rejects") if name.startswith(f"{key.index:06d}-")):
            done = _read_manifest(key, files.join(warehouse, "data", "rejects", batch_id, name))
            # a collector that was killed may have left the record and not the rest
            if done and all(url.rpartition("/")[2] in there(table) for table, url in done.shards.items()):
                return done
        return None

    return find


def _read_manifest(key: PartKey, url: str) -> DonePart | None:
    fs, path = files.open_fs(url)
    with fs.open(path, "rb") as file:
        metadata = pq.read_metadata(file)
    manifest = json.loads((metadata.metadata or {}).get(MANIFEST, b"{}"))
    if manifest.get("input") != key.input_hash:
        return None  # written for other rows, before the plan changed
    warehouse = url.rsplit("/", 4)[0]  # the home may have been moved since
    shards = {
        table: files.join(warehouse, "data", table, key.batch_id, shard.rpartition("/")[2])
        for table, shard in manifest["shards"].items()
    } | ({"rejects": url} if metadata.num_rows else {})
    return DonePart(key, shards, manifest["rows"], manifest["rejects"])


def _write(warehouse: str, table: str, key: PartKey, rows: pa.Table, manifest: object) -> str:
    if manifest is not None:
        rows = rows.replace_schema_metadata({MANIFEST: json.dumps(manifest, sort_keys=True).encode()})
    return save(rows, files.join(warehouse, "data", table, key.batch_id), key.index)


def save(rows: pa.Table, folder: str, number: int) -> str:
    """Write rows as a new Parquet file whose name tells its number and the SHA-256 of its bytes; return its URL."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd", row_group_size=ROW_GROUP)
    data = sink.getvalue()
    url = files.join(folder, f"{number:06d}-{hashlib.sha256(data).hexdigest()[:16]}.parquet")
    files.write_new(url, data)
    return url
