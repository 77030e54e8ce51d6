"""WARC records of a crawl, each as one gzip member: what came, under what the crawl knew about it."""

import base64
import hashlib
import io
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from ingest.fetch import Failure, Response
from ingest.hints import encodable

META = "X-Headrace"  # an extension field (ISO 28500, 4): what the crawl knew when it stored the record
RENAMED = {"content-encoding", "transfer-encoding", "content-length"}  # as Common Crawl stores decoded bodies
DROPPED = {"set-cookie", "set-cookie2"}  # sessions are nobody's data to keep
# What is compressed already is stored as it is: deflating a photograph takes longer than fetching it and saves 4 %.
PACKED = re.compile(r"image/(jpeg|png|gif|webp|avif|heic|jxl)|audio/(mpeg|mp4|aac|ogg|opus|webm|flac)|video/")
MEDIA = ("image/", "audio/")
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
    packer = Packer(0 if PACKED.match(content_of) else 1 if content_of.startswith(MEDIA) else 6)
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


class Packer:
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
    text = _as_json(meta)
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
        text = _as_json(meta)
    for name in GIVEN_UP:
        if len(text) > MAX_META_BYTES:
            meta = {key: value for key, value in meta.items() if key != name}
            text = _as_json(meta)
    return text


def _as_json(value: object) -> str:
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
