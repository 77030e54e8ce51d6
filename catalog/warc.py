"""Reading WARC (ISO 28500): a segment record by record, or one payload by its locator."""

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, cast

import fsspec
from fastwarc.stream_io import ChunkedReader
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord

from catalog.errors import Corrupt

MAX_HEADER_BYTES = 1 << 20  # more than a crawl writes: versions before bounded nothing
OVERHEAD_BYTES = 1 << 20  # of a record over its payload: headers, chunk sizes
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Record:
    """One WARC record, where its member lies, and its block where that was asked for."""

    offset: int
    length: int  # of the whole gzip member (or of the plain record)
    kind: str  # response, resource, metadata, warcinfo, request, revisit, conversion, continuation
    url: str
    date: datetime
    headers: dict[str, str]  # names in lower case
    content_length: int
    block: bytes | None


@dataclass(frozen=True)
class HttpMessage:
    """One HTTP response as stored, its transfer encoding undone and its content encoding not."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the first header of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


def open_warehouse(warehouse: str, path: str) -> BinaryIO:
    """Open a warehouse file (an empty `warehouse` lets `path` stand alone); raise Corrupt if it is gone."""
    target = f"{warehouse.rstrip('/')}/{path}" if warehouse else path
    try:
        if "://" in target and not target.startswith("file://"):
            return cast(BinaryIO, fsspec.open(target, "rb").open())
        return Path(target.removeprefix("file://")).open("rb")
    except FileNotFoundError as error:
        raise Corrupt(f"{target}: the segment is gone from the warehouse") from error


def iterate_segment(warehouse: str, path: str, blocks: Mapping[str, int] = MappingProxyType({})) -> Iterator[Record]:
    """Yield every record of a segment with its exact member offset and length; raise Corrupt where it cannot be read.

    `blocks` gives, by record kind, up to how many bytes a block is read; a longer one, or one of another kind, is None.
    """
    with open_warehouse(warehouse, path) as file:
        yield from iterate_stream(file, path, blocks)


def iterate_stream(file: BinaryIO, path: str, blocks: Mapping[str, int] = MappingProxyType({})) -> Iterator[Record]:
    """Yield every record of an open file as `iterate_segment` does; `path` names it in errors."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    records = iter(ArchiveIterator(file, parse_http=False, max_header_len=MAX_HEADER_BYTES))
    previous: Record | None = None  # a record's length is known when the next one begins
    try:
        for source in records:
            if previous is not None:
                yield replace(previous, length=source.stream_pos - previous.offset)
            previous = _record(source, blocks)
    except (OSError, ValueError) as error:  # a header line of no known form, or a value of none
        raise Corrupt(f"{path}: {error}") from error
    if previous is not None:
        yield replace(previous, length=size - previous.offset)


def _record(source: WarcRecord, blocks: Mapping[str, int]) -> Record:
    headers = {key.lower(): value for key, value in source.headers.to_tuples()}
    kind = headers.get("warc-type", "")
    wanted = source.content_length <= blocks.get(kind, -1)
    block = _read_block(source, source.content_length, f"record at {source.stream_pos}") if wanted else None
    url = headers.get("warc-target-uri", "").strip("<>")
    return Record(source.stream_pos, 0, kind, url, source.record_date, headers, source.content_length, block)


def read_payload(warehouse: str, path: str, offset: int, length: int, max_bytes: int) -> bytes:
    """Return the decoded payload of the WARC member at `offset`, at most `max_bytes` long; raise Corrupt."""
    where = f"{path} at {offset}"
    with open_warehouse(warehouse, path) as file:
        file.seek(offset)
        member = file.read(length)
    if len(member) < length:
        raise Corrupt(f"{where}: the segment ends {length - len(member)} bytes early")
    source = _first(_unpack(member, max_bytes, where), where)
    if source.is_http:
        return _http_payload(source, max_bytes, where)
    return _read_block(source, max_bytes, where)


def parse_http(block: bytes) -> HttpMessage:
    """Split a stored HTTP response into status, headers and body; raise Corrupt where it is none."""
    headers = HeaderMap()
    try:
        consumed = headers.parse(io.BytesIO(block), True)
        body = block[consumed:]
        if "chunked" in (headers.get("Transfer-Encoding") or "").lower():
            body = ChunkedReader(io.BytesIO(body)).read()
    except OSError as error:
        raise Corrupt(f"not an HTTP response: {error}") from error
    if not headers.status_code:
        raise Corrupt("not an HTTP response: no status line")
    return HttpMessage(headers.status_code, tuple(headers.to_tuples()), body)


def _http_payload(source: WarcRecord, max_bytes: int, where: str) -> bytes:
    try:
        source.parse_http(auto_decode="all", max_header_len=MAX_HEADER_BYTES)
        encoded = source.http_headers.get("Content-Encoding") or source.http_headers.get("Transfer-Encoding")
        payload = source.reader.read(max_bytes + 1)
    except OSError as error:
        raise Corrupt(f"{where}: {error}") from error
    if len(payload) > max_bytes:
        raise Corrupt(f"{where}: the payload is longer than {max_bytes} bytes")
    promised = source.http_headers.get("Content-Length") or ""
    if not encoded and promised.isdigit() and len(payload) != int(promised):
        raise Corrupt(f"{where}: {len(payload)} bytes of payload instead of {promised}")
    return payload


def _read_block(source: WarcRecord, max_bytes: int, where: str) -> bytes:
    if source.content_length > max_bytes:
        raise Corrupt(f"{where}: {source.content_length} bytes, more than {max_bytes}")
    try:
        block = source.reader.read(source.content_length)
    except OSError as error:
        raise Corrupt(f"{where}: {error}") from error
    if len(block) != source.content_length:
        raise Corrupt(f"{where}: {len(block)} bytes instead of {source.content_length}")
    return block


def _unpack(member: bytes, max_bytes: int, where: str) -> bytes:
    """Return the record inside a gzip member, its checksum verified as fastwarc does not; plain bytes as they are."""
    if not member.startswith(GZIP_MAGIC):
        return member
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        record = unpacker.decompress(member, max_bytes + OVERHEAD_BYTES)
    except zlib.error as error:
        raise Corrupt(f"{where}: {error}") from error
    if unpacker.eof:
        return record
    if unpacker.unconsumed_tail:
        raise Corrupt(f"{where}: the payload is longer than {max_bytes} bytes")
    raise Corrupt(f"{where}: the member is cut off")


def _first(member: bytes, where: str) -> WarcRecord:
    try:
        return next(iter(ArchiveIterator(io.BytesIO(member), parse_http=False, max_header_len=MAX_HEADER_BYTES)))
    except (OSError, StopIteration) as error:
        raise Corrupt(f"{where}: no WARC record: {error or 'nothing there'}") from error
