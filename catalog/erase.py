"""Overwriting: data files by others without some rows, WARC members by empty ones of equal length."""

import io
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog import compact, failpoint, files, shards
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.keys import declared
from catalog.schema import KEYS, TABLES, Reason
from catalog.shards import filled
from catalog.store import committing
from catalog.warc import iterate_segment

Mask: TypeAlias = Callable[[str, pa.Table], Any]
Moved: TypeAlias = tuple[str, int] | None  # a file and its rows; None where no row is left
STORED = 65_535  # bytes of one stored block of deflate (RFC 1951)
RECORD = (
    "WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
    "WARC-Date: 1970-01-01T00:00:00Z\r\nX-Purged: {pad}\r\nContent-Length: {length}\r\n\r\n"
)


class Eraser:
    """Takes rows out of the tables of one home, so that no file holds them any more; a killed one is continued."""

    def __init__(self, home: Home, mask: Mask, columns: Callable[[str], list[str]], notes: Path) -> None:
        self._home = home
        self._mask = mask  # which rows of a table go, from these columns of it
        self._columns = columns
        self._notes = notes  # where what is being replaced is written down

    def run(self, tables: Iterable[str]) -> int:
        """Rewrite the files that hold such rows until none does; return how many files were replaced."""
        number = 0
        while True:
            if not self._notes.is_file():
                plan = self._plan([name for name in tables if name != "rejects"])
                if not any(plan["moved"].values()):
                    return number
                files.replace(str(self._notes), json.dumps(plan).encode())
                failpoint.reach("purge-written")
            plan = json.loads(self._notes.read_text(encoding="utf-8"))
            for name, moved in plan["moved"].items():
                self._replace(name, moved)
                number += len(moved)
            for name, before in plan["reached"].items():
                self._home.store.expire_now(name)
                failpoint.reach("purge-expired")
                self._delete({*before, *plan["moved"][name]} - self._home.store.reached(name))
            self._notes.unlink()

    def _plan(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Write new files beside those that hold such rows; tell the new by the old, and what every table reaches."""
        moved = {name: self._rewritten(name) for name in names}
        moved["rejects"] = self._records({url: new for done in moved.values() for url, new in done.items()})
        return {"moved": moved, "reached": {name: sorted(self._home.store.reached(name)) for name in moved}}

    def _delete(self, urls: Iterable[str]) -> None:
        for url in sorted(urls):
            files.remove(url)
            files.remove(url + files.DIGEST)

    def _rewritten(self, name: str) -> dict[str, Moved]:
        """Write the files of a table anew that hold such rows."""
        done: dict[str, Moved] = {}
        for url in self._home.store.plan(self._home.store.load(name), None):
            gone = self._gone(name, url)
            if pc.any(gone).as_py():
                done[url] = _write(url, _read(url).filter(pc.invert(gone)))
        return done

    def _gone(self, name: str, url: str) -> Any:
        columns = self._columns(name)
        fs, path = files.open_fs(url)
        with fs.open(path, "rb") as file:
            parquet = pq.ParquetFile(file)
            present = [column for column in columns if column in parquet.schema_arrow.names]
            return self._mask(name, filled(parquet.read(present), declared(columns, name)))

    def _records(self, moved: Mapping[str, Moved]) -> dict[str, Moved]:
        """Write the refusals anew, and the parts' records that name a replaced shard: repairs go by them."""
        touched: dict[str, set[str]] = defaultdict(set)
        for url in moved:
            *_, batch, name = url.rsplit("/", 2)
            if batch != compact.FOLDER:
                touched[batch].add(name.partition("-")[0])
        urls = set(self._home.store.plan(self._home.store.load("rejects"), None))
        for batch, numbers in touched.items():
            folder = files.join(self._home.warehouse, "data", "rejects", batch)
            named = [name for name in files.list_names(folder) if name.partition("-")[0] in numbers]
            urls |= {files.join(folder, name) for name in named}
        done: dict[str, Moved] = {}
        for url in sorted(urls):
            gone, rows = self._gone("rejects", url), _read(url)
            told = _retold(rows, moved)
            if told is not None or pc.any(gone).as_py():
                done[url] = _write(url, (rows if told is None else told).filter(pc.invert(gone)))
        return done

    def _replace(self, name: str, moved: Mapping[str, Moved]) -> None:
        """Put the new files into the table in the place of the old, in one commit."""

        def attempt() -> None:
            table = self._home.store.load(name)
            there = set(self._home.store.plan(table, None))
            old = [url for url in moved if url in there]
            if old:
                new = [pair[0] for url in old if (pair := moved[url]) and pair[1]]
                self._home.store.swap(table, old, new)

        if moved:
            committing(attempt, f"table {name}")
            failpoint.reach("purge-swapped")


def _read(url: str) -> pa.Table:
    fs, path = files.open_fs(url)
    with fs.open(path, "rb") as file:
        return pq.read_table(file)


def _retold(rows: pa.Table, moved: Mapping[str, Moved]) -> pa.Table | None:
    """Return a part's record that names the new shards; None where it names none of the old."""
    metadata = dict(rows.schema.metadata or {})
    told = json.loads(metadata.get(shards.MANIFEST, b"{}"))
    new_ones = {table: moved[url] for table, url in told.get("shards", {}).items() if url in moved}
    if not new_ones:
        return None
    for table, new in new_ones.items():
        for name, value in (("shards", new and new[0]), ("rows", new and new[1])):
            told[name].pop(table)
            if value:
                told[name][table] = value
    metadata[shards.MANIFEST] = json.dumps(told, sort_keys=True).encode()
    return rows.replace_schema_metadata(metadata)


def _write(url: str, rows: pa.Table) -> Moved:
    """Write the rows of a data file that stay beside it, under a name of the same kind."""
    folder, _, name = url.rpartition("/")
    metadata = dict(rows.schema.metadata or {})
    if compact.MANIFEST in metadata or folder.endswith(f"/{compact.FOLDER}"):
        told = compact.read_manifest(url)
        counts = {item["values"]: item["counts"] for item in rows["batch_id"].value_counts().to_pylist()}
        manifest = {"group": told["group"] if told else "", "rows": dict(sorted(counts.items()))}
        rows = rows.replace_schema_metadata({compact.MANIFEST: json.dumps(manifest).encode()})
    elif shards.MANIFEST in metadata:  # a part's record counts its refused rows
        part = json.loads(metadata[shards.MANIFEST])
        part["rejects"] = shards.reason_counts(rows)
        rows = rows.replace_schema_metadata({shards.MANIFEST: json.dumps(part, sort_keys=True).encode()})
    if not rows.num_rows and shards.MANIFEST not in metadata:
        return None
    return shards.save(rows, folder, int(name.partition("-")[0])), rows.num_rows


def take_out(home: Home, name: str, batches: Set[str]) -> bool:
    """Take the files that hold rows of these batches alone out of a table; tell whether there were any.

    They leave the key index first: whenever this is killed, that holds no file which its table does not.
    """

    def attempt() -> bool:
        table = home.store.load(name)
        held = [file.url for file in compact.data_files(table) if file.batches and file.batches <= batches]
        if held:
            if name in KEYS:
                home.index.drop(name, held)
            home.store.swap(table, held, [])
        return bool(held)

    return committing(attempt, f"table {name}")


def discard(home: Home, batch_id: str) -> None:
    """Take an unpublished batch out of every table and off the disk; the next run makes it again.

    Hold the lease gate meanwhile, and let nobody else work on the batch.
    """
    for name in TABLES:
        if take_out(home, name, {batch_id}):
            home.store.expire_now(name)
        folder = files.join(home.warehouse, "data", name, batch_id)
        for found in files.list_names(folder):
            files.remove(files.join(folder, found))


# ── archives ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def erase_records(warehouse: str, records: Sequence[tuple[str, int, int]]) -> int:
    """Overwrite WARC members in place, given as (path, offset, length); return how many archives changed."""
    by_path: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for path, offset, length in records:
        by_path[path].append((offset, length))
    for path, members in sorted(by_path.items()):
        _overwrite(files.join(warehouse, path), members)
        failpoint.reach("purge-archive")
    return len(by_path)


def erase_refused(home: Home) -> int:
    """Overwrite the archived records of pages whose text was taken down under another address; return how many."""
    view = home.view()
    rows = view.read("rejects", ["record_id", "stage", "reason"])
    refused = pc.and_(pc.equal(rows["reason"], Reason.PURGED.value), pc.equal(rows["stage"], "extract"))
    ids = rows.filter(refused)["record_id"].to_pylist()
    found = view.lookup("pages", "page_id", ids, ["warc_path", "warc_offset", "warc_length"]).to_pylist() if ids else []
    members = {tuple(row.values()) for row in found if row["warc_path"]}
    left = [member for member in sorted(members) if not _is_blank(home.warehouse, *member)]
    erase_records(home.warehouse, left)
    return len(left)


def _is_blank(warehouse: str, path: str, offset: int, length: int) -> bool:
    fs, place = files.open_fs(files.join(warehouse, path))
    with fs.open(place, "rb") as file:
        file.seek(offset)
        return bool(file.read(length) == blank(length))


def records_of(warehouse: str, path: str, urls: frozenset[str]) -> list[tuple[str, int, int]]:
    """Find every record of an archive, whatever its kind, that speaks of one of these URLs."""
    found = iterate_segment(warehouse, path)
    return [(path, record.offset, record.length) for record in found if record.url in urls]


def blank(length: int) -> bytes:
    """Return a gzip member of exactly `length` bytes with an empty WARC record; raise ValueError if that is too short.

    It is stored, not compressed, so that its length can be chosen (RFC 1951, 3.2.4).
    """
    smallest = len(_member(0, 0))
    if length < smallest + 16:
        raise ValueError(f"a record of {length} bytes cannot be overwritten by one of at least {smallest + 16}")
    body = length - smallest
    while len(_member(body, 0)) > length:
        body -= 1
    for empty in (0, 1):  # one stored block more closes the gaps at the borders of full ones
        for less in range(32):  # so do digits of the length
            pad = length - len(_member(body - less, 0, empty))
            if pad >= 0 and len(member := _member(body - less, pad, empty)) == length:
                return member
    raise AssertionError(f"no record has {length} bytes")


def _member(body: int, pad: int, empty: int = 0) -> bytes:
    data = RECORD.format(pad="x" * pad, length=body).encode() + b" " * body + b"\r\n\r\n"
    pieces = [b""] * empty + [data[start : start + STORED] for start in range(0, len(data), STORED)]
    sink = io.BytesIO()
    sink.write(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    for number, piece in enumerate(pieces):
        size = len(piece)
        last = number == len(pieces) - 1
        sink.write(bytes([last]) + size.to_bytes(2, "little") + (size ^ STORED).to_bytes(2, "little"))
        sink.write(piece)
    sink.write(zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little"))
    return sink.getvalue()


def _overwrite(url: str, members: Sequence[tuple[int, int]]) -> None:
    """Overwrite members of one archive and note its new SHA-256 beside it."""
    if files.is_local(url):
        path = Path(files.local_path(url))
        if not path.is_file():
            raise Corrupt(f"{path}: the segment is gone from the warehouse")
        with path.open("r+b") as file:
            for offset, length in members:
                file.seek(offset)
                file.write(blank(length))
            file.flush()
            os.fsync(file.fileno())
    else:
        fs, place = files.open_fs(url)
        data = bytearray(fs.cat_file(place))
        for offset, length in members:
            data[offset : offset + length] = blank(length)
        fs.pipe_file(place, bytes(data))
    files.note_digest(url)
