"""Proof of a takedown: pieces of what was taken down are looked for in every byte of a home, unpacked."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files
from catalog.errors import Corrupt
from catalog.home import Home
from catalog.schema import TABLES
from catalog.shards import open_dataset
from catalog.victims import Victims
from catalog.warc import read_payload

WINDOW = 40  # bytes of a marker
EACH = 3  # markers of one payload or text
MOST = 300  # markers altogether
# Different bytes of a window, at least: rows of zeros and of grey stand in many files.
TELLING_TEXT, TELLING_BYTES = 9, 24
PIECE = 1 << 20
MEMBER = b"\x1f\x8b\x08"  # with which a gzip member begins
ASIDE = re.compile(r"\.[0-9a-f]{8}\.tmp$")  # the end of a file's name until it is whole
ROWS = 1_000  # texts compared at once
MAX_PAYLOAD = 1 << 28


def markers(home: Home, found: Victims) -> list[bytes]:
    """Cut pieces from the texts, pictures and recordings that go, such as no text that stays holds."""
    cut: dict[bytes, None] = {}
    for text in home.view().lookup("documents", "document_id", found.documents, ["text"])["text"].to_pylist():
        cut |= dict.fromkeys(_windows((text or "").encode("utf-8", "replace"), TELLING_TEXT))
    for path, offset, length in found.records:
        if len(cut) >= MOST:
            break
        try:
            payload = read_payload(home.warehouse, path, offset, length, MAX_PAYLOAD)
        except Corrupt:
            continue  # overwritten by a takedown that was interrupted
        if not payload.lstrip().startswith(b"<"):  # pages of one site share their frame: their text tells them apart
            cut |= dict.fromkeys(_windows(payload, TELLING_BYTES))
    return _only_theirs(home, list(cut)[:MOST], found)


def _windows(data: bytes, telling: int) -> Iterator[bytes]:
    for number in range(1, EACH + 1):
        start = len(data) * number // (EACH + 1)
        piece = data[start : start + WINDOW]
        if len(piece) == WINDOW and len(set(piece)) >= telling:
            yield piece


def _only_theirs(home: Home, cut: list[bytes], found: Victims) -> list[bytes]:
    """Leave out pieces that records hold which stay: a quotation, a site's own frame."""
    gone = pa.array(found.documents, pa.string())
    stored = open_dataset(home.view().urls("documents"), TABLES["documents"])
    for rows in stored.to_batches(["document_id", "text"], batch_size=ROWS) if cut else ():
        kept = rows.filter(pa.compute.invert(pa.compute.is_in(rows["document_id"], gone)))["text"]
        texts = b"".join(buffer.to_pybytes() for buffer in kept.buffers()[2:] if buffer)
        cut = [piece for piece in cut if piece not in texts]
    return cut


def search(home: Home, wanted: list[bytes], waiting: Path) -> dict[str, Any]:
    """Look for markers in every file of a home and its warehouse; Parquet and gzip are unpacked first."""
    places = [(str(path), str(path)) for path in sorted(home.root.rglob("*")) if path.is_file() and path != waiting]
    if not Path(files.local_path(home.warehouse)).is_relative_to(home.root):
        places += [(found.url, found.url) for found in files.listing(home.warehouse)]
    left = [name for name, url in places if wanted and _holds(url, wanted)]
    return {"files": len(places), "markers": len(wanted), "found": len(left), "left": left[:20]}


def _holds(url: str, wanted: list[bytes]) -> bool:
    held = b""
    try:
        for piece in _unpacked(url):
            data = held + piece
            if any(marker in data for marker in wanted):
                return True
            held = data[-WINDOW:]
    except FileNotFoundError:
        return False  # another process has just removed it
    except pa.ArrowInvalid:  # half of a file, which a killed process left
        fs, path = files.open_fs(url)
        return any(marker in fs.cat_file(path) for marker in wanted)
    return False


def _unpacked(url: str) -> Iterator[bytes]:
    fs, path = files.open_fs(url)
    with fs.open(path, "rb") as file:
        kind = ASIDE.sub("", url)
        if kind.endswith(".parquet"):
            yield from _buffers(pq.ParquetFile(file))
        elif kind.endswith(".gz"):
            yield from _members(file)
        else:
            while piece := file.read(PIECE):
                yield piece


def _buffers(parquet: pq.ParquetFile) -> Iterator[bytes]:
    for batch in parquet.iter_batches():
        for column in batch.columns:
            yield from (buffer.to_pybytes() for buffer in column.buffers() if buffer)


def _members(file: Any) -> Iterator[bytes]:
    data = file.read(PIECE)
    while data:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not unpacker.eof and data:
            try:
                yield unpacker.decompress(data)
            except zlib.error:  # damaged: what comes after it is searched all the same
                at = data.find(MEMBER, 1)
                more = b"" if at > 0 else file.read(PIECE)
                data = data[at:] if at > 0 else data[1 - len(MEMBER) :] + more if more else b""
                break
            data = unpacker.unused_data if unpacker.eof else file.read(PIECE)
        data = data or file.read(PIECE)
