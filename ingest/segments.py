"""WARC segments: written member by member, sealed, moved into the warehouse, and read back as table rows."""

import base64
import errno
import hashlib
import io
import json
import logging
import os
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from catalog import files, ids
from catalog.errors import Corrupt, InputError
from catalog.schema import Reason, body, rejects
from catalog.warc import Record, iterate_segment, iterate_stream, open_warehouse
from ingest.fetch import Failure, Response
from ingest.hints import encodable

log = logging.getLogger("headrace")
Lost: TypeAlias = tuple[int, str]  # where a record lies that cannot be read, and why not

META = "X-Headrace"  # an extension field (ISO 28500, 4): what the crawl knew when it stored the record
RENAMED = {"content-encoding", "transfer-encoding", "content-length"}  # as Common Crawl stores decoded bodies
DROPPED = {"set-cookie", "set-cookie2"}  # sessions are nobody's data to keep
CHUNK = 1 << 20
# What is compressed already is stored as it is: deflating a photograph takes longer than fetching it and saves 4 %.
PACKED = re.compile(r"image/(jpeg|png|gif|webp|avif|heic|jxl)|audio/(mpeg|mp4|aac|ogg|opus|webm|flac)|video/")
MEDIA = ("image/", "audio/")
METADATA = {"metadata": 1 << 20}
MAX_META_BYTES = 32 << 10  # of what the crawl knew, as JSON in ASCII; rights take up to 12 KiB of it
MAX_HTTP_BYTES = 32 << 10  # of the headers of a response
MAX_TEXT = 500  # characters of a licence or of an attempt
MAX_VALIDATOR = 1000  # a longer ETag or Last-Modified is none: a part of it would never match
MAX_ATTEMPTS = 8
GIVEN_UP = ("attempts", "referrer", "robots_rule", "etag", "last_modified", "licence")  # what a long record loses first


@dataclass(frozen=True)
class Origin:
    """What the crawl knows about one visit besides the response; stored inside its record."""

    kind: str
    host: str
    source: str
    source_class: str
    depth: int
    referrer: str | None
    scope: str
    status: int | None = None
    etag: str | None = None  # a local file's signature stands here too
    last_modified: str | None = None
    robots_rule: str | None = None
    rights: str = ""
    licence: str = ""
    file: str | None = None  # the archive or table that the record was taken from, and its position in it
    index: int | None = None
    hints: Mapping[str, Any] | None = None  # of `ingest.hints.Hints`
    attempts: tuple[str, ...] = ()  # those before it that brought nothing, each with its time

    def __post_init__(self) -> None:
        """Bound what strangers wrote, so that the record's header can be read again."""
        for name in ("etag", "last_modified"):
            if len(getattr(self, name) or "") > MAX_VALIDATOR:
                object.__setattr__(self, name, None)
        object.__setattr__(self, "licence", encodable(self.licence[:MAX_TEXT]))
        object.__setattr__(self, "attempts", tuple(one[:MAX_TEXT] for one in self.attempts[-MAX_ATTEMPTS:]))


@dataclass(frozen=True)
class Stored:
    """The block of one record to be written."""

    kind: str
    url: str
    content: bytes
    sha256: str


def response_member(response: Response, content_type: str, sha256: str, origin: Origin, date: float) -> bytearray:
    """Return one gzip member with a `response` record: the decoded body under the headers as they came."""
    headers = [(name, value) for name, value in response.headers if name.lower() not in RENAMED | DROPPED]
    headers += [(f"X-Crawl-{name}", value) for name, value in response.headers if name.lower() in RENAMED]
    phrase = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else ""
    http = StatusAndHeaders(f"{response.status} {phrase}", _bounded(headers, len(response.body)), protocol="HTTP/1.1")
    stored = Stored("response", response.url, response.body, sha256)
    return _member(stored, _meta(origin, content_type, stored), date, http=http)


def resource_member(url: str, content: bytes, content_type: str, sha256: str, origin: Origin, date: float) -> bytearray:
    """Return one gzip member with a `resource` record: a local file as it is."""
    stored = Stored("resource", url, content, sha256)
    return _member(stored, _meta(origin, content_type, stored), date, content_type)


def reject_member(url: str, failure: Failure, origin: Origin, date: float) -> bytearray:
    """Return one gzip member with a `metadata` record: why a URL brought nothing."""
    content = json.dumps({"reason": failure.reason, "detail": failure.detail}).encode()
    stored = Stored("metadata", url, content, hashlib.sha256(content).hexdigest())
    return _member(stored, _meta(origin, "", stored), date, "application/json")


def _member(
    stored: Stored, meta: dict[str, object], date: float, content_type: str = "", http: StatusAndHeaders | None = None
) -> bytearray:
    digest = base64.b32encode(bytes.fromhex(stored.sha256)).decode()
    content_of = str(meta.get("type"))
    packer = _Packer(0 if PACKED.match(content_of) else 1 if content_of.startswith(MEDIA) else 6)
    writer = WARCWriter(packer, gzip=False, warc_version="1.1")
    record = writer.create_warc_record(
        stored.url,
        stored.kind,
        payload=io.BytesIO(stored.content),
        length=len(stored.content),
        http_headers=http,
        warc_content_type=content_type,
        warc_headers_dict={
            "WARC-Date": _iso(date),
            "WARC-Payload-Digest": f"sha256:{digest}",
            META: _fitted(meta),
        },
    )
    writer.write_record(record)
    return packer.finish()


class _Packer:
    """A file to write to that holds only the gzip member of what was written, never the plain bytes beside it."""

    def __init__(self, level: int) -> None:
        self._inner = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS | 16)
        self._packed = bytearray()

    def write(self, data: bytes) -> int:
        self._packed += self._inner.compress(data)
        return len(data)

    def flush(self) -> None:
        """Nothing: a member is written whole."""

    def finish(self) -> bytearray:
        self._packed += self._inner.flush()
        return self._packed


def _meta(origin: Origin, content_type: str, stored: Stored) -> dict[str, object]:
    known = {name: value for name, value in asdict(origin).items() if value not in (None, "", {}, ())}
    if stored.kind == "metadata":
        return known
    return known | {"type": content_type, "sha256": stored.sha256, "bytes": len(stored.content)}


def _fitted(meta: dict[str, Any]) -> str:
    """Return the JSON of what the crawl knew: captions, then media, then titles go from the end until it fits."""
    text = _json(meta)
    hints = dict(meta.get("hints") or {})
    media = [dict(medium) for medium in hints.get("media", ())]
    uncaptioned = len(media)
    while len(text) > MAX_META_BYTES and hints:
        if uncaptioned:
            uncaptioned -= 1
            media[uncaptioned]["alt"] = ""
        elif media:
            media.pop()
        else:
            hints.popitem()
        hints |= {"media": media} if media else {}
        if not media:
            hints.pop("media", None)
        meta = meta | {"hints": hints}
        text = _json(meta)
    for name in GIVEN_UP:
        if len(text) > MAX_META_BYTES:
            meta = {key: value for key, value in meta.items() if key != name}
            text = _json(meta)
    return text


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _bounded(headers: list[tuple[str, str]], length: int) -> list[tuple[str, str]]:
    """Return the headers to store, the body's length last; a flood of them ends where readers would stop."""
    kept, left = [], MAX_HTTP_BYTES
    for name, value in map(_clean, headers):
        size = len(name) + len(value.encode("utf-8", "replace")) + 4
        if size <= left:
            kept.append((name, value))
            left -= size
    return [*kept, ("Content-Length", str(length))]


def _clean(header: tuple[str, str]) -> tuple[str, str]:
    """Keep a hostile header from breaking out of its line."""
    return re.sub(r"[^!-9;-~]", "_", header[0]), re.sub(r"[\x00-\x1f\x7f]", " ", header[1])


def _iso(date: float) -> str:
    return datetime.fromtimestamp(date, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class SegmentWriter:
    """One open segment in the staging folder; each append is one write, so a killed process leaves whole members."""

    def __init__(self, folder: Path, user_agent: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{secrets.token_hex(8)}.warc.gz"
        self._file = self.path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.num_bytes = 0
        self.num_records = 0
        packer = _Packer(6)
        writer = WARCWriter(packer, gzip=False, warc_version="1.1")
        info = {
            "software": f"headrace/{version('headrace')}", "format": "WARC File Format 1.1",
            "http-header-user-agent": user_agent, "robots": "RFC 9309",
        }  # fmt: skip
        writer.write_record(writer.create_warcinfo_record(self.path.name, info))
        self._write(packer.finish())

    def append(self, member: bytearray) -> None:
        """Add one record whole; raise InputError, leaving the file as it was, where the disk does not take it."""
        self._write(member)
        self.num_records += 1

    def _write(self, member: bytearray) -> None:
        view = memoryview(member)
        try:
            while view:  # a file system that is almost full takes part of a write
                view = view[self._file.write(view) :]
        except OSError as error:
            self._file.truncate(self.num_bytes)
            self._file.seek(self.num_bytes)
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror}; make room and run again, what was fetched is kept"
            ) from error
        self._hash.update(member)
        self.num_bytes += len(member)

    def seal(self) -> str:
        """Make the segment and its name durable and return its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        files.fsync_folder(self.path.parent)
        return self._hash.hexdigest()


def seal_file(path: Path) -> str:
    """Make a finished file and its name durable and return its SHA-256."""
    files.fsync_folder(path.parent)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def salvage(path: Path) -> int:
    """Cut a segment that a crash left open behind its last whole member; return how many records it holds."""
    whole, members = 0, 0
    with path.open("r+b") as file:
        for end in _member_ends(file):
            whole, members = end, members + 1
        file.truncate(whole)
        os.fsync(file.fileno())
    return max(members - 1, 0)  # the first describes the segment


def _member_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the offset behind each gzip member that is whole and passes its checksum."""
    position, data = 0, b""
    while True:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not unpacker.eof:
            data = data or file.read(CHUNK)
            if not data:
                return
            try:
                unpacker.decompress(data)
            except zlib.error:
                return
            position += len(data) - len(unpacker.unused_data)
            data = unpacker.unused_data
        yield position


def segment_path(sha256: str) -> str:
    """Return where a sealed segment lies in the warehouse."""
    return f"warc/{sha256[:2]}/{sha256}.warc.gz"


def store_segment(staged: Path, warehouse: str, sha256: str) -> str:
    """Move a sealed segment into the warehouse and return its path there; harmless when it has been moved already."""
    path = segment_path(sha256)
    if not staged.exists():
        return path
    target = files.join(warehouse, path)
    if files.is_local(target):
        files.make_folders(files.local_path(target).parent)
        try:
            staged.rename(files.local_path(target))
            files.fsync_folder(files.local_path(target).parent)
            return path
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    files.write_new(target, staged.read_bytes())
    staged.unlink()
    return path


def segment_tables(warehouse: str, path: str) -> dict[str, pa.Table]:
    """Derive the crawl's rows from one sealed segment and from nothing else: `pages` and `rejects`."""
    pages: list[dict[str, object]] = []
    refused: list[dict[str, str | None]] = []
    lost: list[Lost] = []
    for record, meta in crawl_records(warehouse, path, lost):
        if record.kind == "metadata":
            reason, detail = reason_of(record)
            record_id = ids.page_id(record.url, "")
            if attempts := meta.get("attempts"):
                detail = f"{detail}; before that: {'; '.join(attempts)}"
            refused.append({"record_id": record_id, "url": record.url, "reason": reason, "detail": detail})
        else:
            pages.append(_page(record, meta, path))
    for offset, detail in lost:
        url = f"{path}#offset={offset}"
        refused.append({"record_id": ids.page_id(url, ""), "url": url, "reason": Reason.CORRUPT, "detail": detail})
    refused.sort(key=lambda row: (str(row["record_id"]), str(row["reason"])))
    pages.sort(key=lambda row: (str(row["page_id"]), str(row["fetched_at"])))
    return {"pages": pa.Table.from_pylist(pages, schema=body("pages")), "rejects": rejects("crawl", refused)}


def _page(record: Record, meta: Mapping[str, Any], path: str) -> dict[str, object]:
    return {
        "page_id": ids.page_id(record.url, meta["sha256"]),
        "url": record.url,
        "source": meta["source"],
        "source_class": meta["source_class"],
        "depth": meta["depth"],
        "referrer": meta.get("referrer"),
        "fetched_at": record.date,
        "status": meta.get("status", 200),
        "reason": None,
        "content_type": meta["type"],
        "num_bytes": meta["bytes"],
        "payload_sha256": meta["sha256"],
        "robots_rule": meta.get("robots_rule"),
        "rights": meta.get("rights"),
        "licence": meta.get("licence"),
        "warc_path": path,
        "warc_offset": record.offset,
        "warc_length": record.length,
        "hints": meta.get("hints"),
        "attempts": meta.get("attempts"),
    }


def crawl_records(warehouse: str, path: str, lost: list[Lost] | None = None) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield the records of a segment that tell of a visit, with what the crawl knew about each.

    A record that cannot be read costs itself alone: it goes to `lost`. Raise Corrupt where the file itself is damaged.
    """
    for record in _records(warehouse, path, [] if lost is None else lost):
        if META.lower() not in record.headers:
            continue
        try:
            meta = _encodable(json.loads(record.headers[META.lower()]))
            if record.kind == "metadata":
                reason_of(record)
        except (ValueError, Corrupt) as error:
            _lose(path, record.offset, error, lost)
            continue
        yield replace(record, url=encodable(record.url)), meta


def _records(warehouse: str, path: str, lost: list[Lost]) -> Iterator[Record]:
    """Yield the records of a segment; where reading them in one go fails, each member by itself from there on."""
    done = 0
    try:
        for record in iterate_segment(warehouse, path, METADATA):
            done = record.offset + record.length
            yield record
        return
    except Corrupt as error:
        log.warning("crawl: %s; each record is read by itself", error)
    with open_warehouse(warehouse, path) as file:
        size, start = file.seek(0, io.SEEK_END), done
        file.seek(0)
        ends = list(_member_ends(file))
        if not ends or ends[-1] != size:
            raise Corrupt(f"{path}: damaged behind byte {ends[-1] if ends else 0}")
        for end in (end for end in ends if end > done):
            file.seek(start)
            try:
                (record,) = iterate_stream(io.BytesIO(file.read(end - start)), f"{path} at {start}", METADATA)
                yield replace(record, offset=start, length=end - start)
            except (Corrupt, ValueError) as error:  # no record, or a header that ends early and leaves two
                _lose(path, start, error, lost)
            start = end


def _lose(path: str, offset: int, error: Exception, lost: list[Lost] | None) -> None:
    log.warning("crawl: %s: the record at %d cannot be read and is left out: %s", path, offset, error)
    if lost is not None:
        lost.append((offset, str(error)[:MAX_TEXT]))


def _encodable(value: Any) -> Any:
    """Return what JSON held with texts that Arrow takes."""
    match value:
        case str():
            return encodable(value)
        case dict():
            return {encodable(name): _encodable(item) for name, item in value.items()}
        case list():
            return [_encodable(item) for item in value]
    return value


def reason_of(record: Record) -> tuple[str, str]:
    """Return reason and detail of a record that tells why a URL brought nothing; raise Corrupt."""
    try:
        given = json.loads(record.block or b"")
        return str(given["reason"]), encodable(str(given["detail"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"record at {record.offset} for {record.url} gives no reason: {error}") from error
