"""What can be said of a home's files without opening it: do their bytes still match the hashes that were noted?

Everything is read once, in pieces; nothing is held in memory but what is wrong.
"""

import hashlib
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files, progress
from catalog.files import Found, listing
from catalog.shards import NAME

SEGMENT = re.compile(r"([0-9a-f]{64})\.warc(\.gz)?")
PIECE = 1 << 20
THREADS = 4
CHUNK = 256  # files handed to the threads at once


@dataclass(frozen=True)
class Damage:
    """One file and what is wrong with it."""

    url: str
    said: str


def damaged(warehouse: str, place: str, check: Callable[[Found], str | None], what: str) -> tuple[list[Damage], int]:
    """Check every file below a folder of a warehouse; return what is wrong and how many files were looked at."""
    found = listing(files.join(warehouse, place))
    wrong = []
    with progress.bar(f"doctor: {what}", sum(item.size for item in found)) as bar, ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(found), CHUNK):
            chunk = found[start : start + CHUNK]
            for item, said in zip(chunk, pool.map(check, chunk), strict=True):
                wrong += [Damage(item.url, said)] if said else []
                bar.advance(item.size)
    return wrong, len(found)


def shard(found: Found) -> str | None:
    """Compare a data file with the SHA-256 in its name."""
    named = NAME.fullmatch(found.url.rpartition("/")[2])
    fs, path = files.open_fs(found.url)
    try:
        with fs.open(path, "rb") as file:
            if named is None:  # pyiceberg's own: its SHA-256 stands beside it
                return table_file(found) or _parquet(file)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error}"
    return None if digest.startswith(named[1]) else "does not match the SHA-256 in its name"


def _parquet(file: object) -> str | None:
    try:
        pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        return f"cannot be read: {error}"
    return None


def table_file(found: Found) -> str | None:
    """Compare a file that pyiceberg wrote with the SHA-256 that was noted beside it."""
    if found.url.endswith(files.DIGEST):
        path = files.local_path(found.url.removesuffix(files.DIGEST))
        half = path.is_file() and files.recorded_digest(path) is None and found.size > 0
        return "is no SHA-256 of a file" if half else None
    if not files.is_local(found.url):
        return None
    recorded = files.recorded_digest(files.local_path(found.url))
    if recorded is None:
        return None
    try:
        with files.local_path(found.url).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None  # another process has just removed it
    return None if digest == recorded else "does not match its SHA-256"


def segment(found: Found) -> str | None:
    """Compare a WARC segment with the SHA-256 in its name; where it differs, name its damaged records."""
    if found.url.endswith(files.DIGEST):
        return None  # it says what a segment is to be since records of it were taken down
    named = SEGMENT.fullmatch(found.url.rpartition("/")[2])
    fs, path = files.open_fs(found.url)
    if named is not None:
        with fs.open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() in (named[1], files.noted_digest(found.url)):
                return None
    try:
        with fs.open(path, "rb") as file:
            records = [f"the record at {offset} {said}" for offset, said in _members(file) if said]
    except OSError as error:
        return f"cannot be read: {error}"
    if named is None and not records:
        return None
    return "; ".join(records[:5]) or "does not match the SHA-256 in its name, though each record can be read"


def _members(file: object) -> Iterator[tuple[int, str | None]]:
    """Yield each gzip member's offset and what is wrong with it; the bytes after a broken one are searched for more."""
    buffer, offset = b"", 0
    read: Callable[[int], bytes] = getattr(file, "read")  # noqa: B009 — fsspec's files have no type
    while True:
        buffer = buffer or read(PIECE)
        if not buffer:
            return
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        length, said = 0, None
        while not unpacker.eof:
            buffer = buffer or read(PIECE)
            if not buffer:
                said = "is cut off"
                break
            try:
                unpacker.decompress(buffer)
            except zlib.error as error:
                said = f"is damaged: {error}"
                break
            length += len(buffer) - len(unpacker.unused_data)
            buffer = unpacker.unused_data if unpacker.eof else b""
        yield offset, said
        if said:
            return  # where the next one begins cannot be known
        offset += length


def database(path: Path) -> str | None:
    """Let SQLite look a database over; None if it is sound or not there."""
    if not path.is_file():
        return None
    try:
        with closing(_read_only(path)) as db:
            said = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if said == "ok" else " ".join(str(said).split())


def _read_only(path: Path) -> sqlite3.Connection:
    """Open a database of any name; ? and # would end its path if they stood as they are."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)


def catalog_pointers(path: Path) -> Iterator[str]:
    """Compare what an SQLite catalog says of each table's earlier metadata with the present metadata's own log."""
    query = "SELECT table_name, metadata_location, previous_metadata_location FROM iceberg_tables"
    with closing(_read_only(path)) as db:
        try:
            rows = db.execute(query).fetchall()
        except sqlite3.DatabaseError as error:
            yield str(error)
            return
    for name, present, previous in rows:
        location = files.local_path(present)
        if not location.is_file() or files.recorded_digest(location) is None or table_file(Found(present, 0, 0)):
            continue  # elsewhere, missing or damaged: found by another check
        log = json.loads(location.read_bytes()).get("metadata-log") or [{"metadata-file": None}]
        if previous != log[-1]["metadata-file"]:
            yield f"table {name} had other metadata before the present than {previous}"
