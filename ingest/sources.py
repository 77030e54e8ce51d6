"""Sources that are read rather than visited: local folders, WARC files, and the lists in sitemaps and feeds."""

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import feedparser
from fastwarc.warc import ArchiveIterator, WarcRecord
from lxml import etree

from catalog.errors import ConfigError, Corrupt
from catalog.schema import Reason
from catalog.warc import MAX_HEADER_BYTES, parse_http
from ingest.fetch import BadEncoding, Failure, Response, TooLarge, decode_body
from ingest.urls import canonical, file_url, type_by_name

TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
MEDIA_TYPES = ("image/", "audio/", "video/", "application/ogg")
UNSAID = ("", "application/octet-stream", "binary/octet-stream")  # the server does not know either
GONE = (404, 410)
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Item:
    """One record of a local source: its response, or why it brings nothing."""

    url: str
    content: Response | Failure
    content_type: str = ""
    resource: bool = False  # a file, not an HTTP response
    signature: str | None = None  # of a file: size and modification time
    fetched_at: float | None = None  # of a WARC record
    file: str | None = None
    index: int | None = None


@dataclass
class Listing:
    """What a sitemap or a feed names."""

    pages: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def content_type_of(response: Response, media: bool) -> str:
    """Return the declared media type, else what the name in the URL says, else HTML for a page."""
    declared = response.content_type
    if declared not in UNSAID:
        return declared
    named = type_by_name(response.url)
    return named if named not in UNSAID or declared or media else "text/html"


def judge(response: Response, media: bool) -> Failure | None:
    """Say from status and headers alone why a response brings nothing, or None."""
    status = response.status
    if status in GONE:
        return Failure(Reason.NOT_FOUND, f"HTTP {status}")
    if status == 429 or status >= 500:
        reason = Reason.CLIENT_ERROR if status == 429 else Reason.SERVER_ERROR
        after = response.get("retry-after")
        return Failure(reason, f"HTTP {status}" + (f", Retry-After {after[:40]}" if after else ""), again=True)
    if 400 <= status < 500:
        return Failure(Reason.CLIENT_ERROR, f"HTTP {status}")
    if status not in (200, 203):
        return Failure(Reason.BAD_RESPONSE, f"HTTP {status} where a page was expected")
    kind = content_type_of(response, media)
    if not kind.startswith(TEXT_TYPES + MEDIA_TYPES):
        return Failure(Reason.WRONG_TYPE, kind)
    return None


def list_folder(path: str) -> list[Path]:
    """Return the visible files under a local folder (or the one file) in path order; empty where there is nothing."""
    root = Path(path.removeprefix("file://")).expanduser().absolute()
    if root.is_file():
        return [root]
    files = (file for file in root.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


def signature_of(file: Path) -> str:
    """Return size and modification time, by which a changed file is told from an unchanged one; '' where it is gone."""
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def read_file(file: Path, max_bytes: int) -> Item:
    """Read one local file whose name tells of a type that can be used."""
    url, signature = file_url(str(file)), signature_of(file)
    named = type_by_name(url)
    if not named.startswith(TEXT_TYPES + MEDIA_TYPES):
        return Item(url, Failure(Reason.WRONG_TYPE, named), signature=signature)
    try:
        with file.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        return Item(url, Failure(Reason.UNREACHABLE, error.strerror or str(error)))
    if len(content) > max_bytes:
        return Item(url, Failure(Reason.TOO_LARGE, f"more than {max_bytes} bytes"), signature=signature)
    response = Response(url, 200, (("Content-Type", named),), content)
    return Item(url, response, named, resource=True, signature=signature)


def warc_files(path: str) -> list[Path]:
    """Return the local WARC files that a path, folder or glob names, in order; raise ConfigError for a bad glob."""
    local = Path(path.removeprefix("file://")).expanduser().absolute()
    if local.is_dir():
        return sorted(file for file in local.rglob("*.warc*") if file.is_file())
    try:
        return sorted(Path(local.anchor).glob(str(local.relative_to(local.anchor))))
    except ValueError as error:
        raise ConfigError(f"data_sources: '{path}': {error}") from error


def read_warc(file: Path, first: int, max_bytes: int) -> Iterator[Item]:
    """Yield the responses, resources and conversions of a WARC file from record number `first` on."""
    with file.open("rb") as stream:
        records = ArchiveIterator(stream, parse_http=False, max_header_len=MAX_HEADER_BYTES)
        index = -1
        try:
            for index, record in enumerate(records):
                headers = {key.lower(): value for key, value in record.headers.to_tuples()}
                kind = headers.get("warc-type", "")
                if index >= first and kind in ("response", "resource", "conversion"):
                    yield _read_record(record, headers, file, index, max_bytes)
        except OSError as error:
            damage = Failure(Reason.BAD_RESPONSE, f"WARC damaged after record {index}: {error}")
            yield Item(file_url(str(file)), damage, file=str(file), index=index + 1)


def _read_record(record: WarcRecord, headers: dict[str, str], file: Path, index: int, max_bytes: int) -> Item:
    raw = headers.get("warc-target-uri", "").strip("<>")
    url = canonical(raw)
    date = record.record_date.timestamp() if record.record_date else None

    def item(content: Response | Failure, url: str = url or raw or file_url(str(file))) -> Item:
        typed = content_type_of(content, media=False) if isinstance(content, Response) else ""
        return Item(url, content, typed, fetched_at=date, file=str(file), index=index)

    if url is None:
        return item(Failure(Reason.BAD_URL, f"'{raw[:200]}' is not an http or https URL"))
    if record.content_length > max_bytes:
        return item(Failure(Reason.TOO_LARGE, f"{record.content_length} bytes, more than {max_bytes}"))
    try:
        block = record.reader.read(record.content_length)
    except OSError as error:
        return item(Failure(Reason.BAD_RESPONSE, f"record damaged: {error}"))
    if len(block) != record.content_length:
        return item(Failure(Reason.BAD_RESPONSE, f"record cut off after {len(block)} bytes"))
    if not record.is_http:
        content_type = headers.get("content-type", "text/plain")
        response = Response(url, 200, (("Content-Type", content_type),), block)
        return item(judge(response, media=False) or response)
    return item(_http_content(url, block, max_bytes))


def _http_content(url: str, block: bytes, max_bytes: int) -> Response | Failure:
    try:
        message = parse_http(block)
        response = Response(url, message.status, message.headers, b"")
        if 300 <= message.status < 400:
            return Failure(Reason.REDIRECTED, f"{message.status} to {message.get('Location') or 'nowhere'}")
        if failure := judge(response, media=False):
            return failure
        decoded = decode_body(message.body, response.get("content-encoding"), max_bytes)
    except (Corrupt, BadEncoding) as error:
        return Failure(Reason.BAD_RESPONSE, str(error))
    except TooLarge:
        return Failure(Reason.TOO_LARGE, f"more than {max_bytes} bytes")
    return Response(url, message.status, message.headers, decoded)


def read_sitemap(response: Response, max_bytes: int) -> Listing:
    """Read a sitemap or index (sitemaps.org, images too), as XML, text or gzip; raise BadEncoding or TooLarge."""
    content = response.body
    if content.startswith(GZIP_MAGIC):
        content = _gunzip(content, max_bytes)
    listing = Listing()
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = content.decode("utf-8", "replace").split()
        listing.pages = [url for line in lines if (url := canonical(line, response.url))]
        return listing
    try:
        for _, element in etree.iterparse(
            io.BytesIO(content), events=("end",), resolve_entities=False, no_network=True, huge_tree=False, recover=True
        ):
            _read_location(element, response.url, listing)
    except etree.XMLSyntaxError as error:
        raise BadEncoding(f"not a sitemap: {error.msg}") from error
    return listing


def _read_location(element: Any, base: str, listing: Listing) -> None:
    namespace, tag = _name(element)
    parent = element.getparent()
    if tag != "loc" or parent is None:
        return
    url = canonical(element.text or "", base)
    if url is None:
        return
    within = _name(parent)[1]
    if within == "sitemap":
        listing.sitemaps.append(url)
    elif within == "image" or "image" in namespace:
        listing.media.append(url)
    elif within == "url":
        listing.pages.append(url)


def _name(element: Any) -> tuple[str, str]:
    """Return namespace and local name of an element; lxml's QName refuses names that its recovering parser lets in."""
    namespace, _, tag = element.tag.rpartition("}")
    return namespace.removeprefix("{"), tag


def _gunzip(content: bytes, max_bytes: int) -> bytes:
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        data = unpacked.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise BadEncoding(f"not gzip: {error}") from error
    if len(data) > max_bytes:
        raise TooLarge
    return data


def read_feed(response: Response) -> Listing:
    """Read an RSS or Atom feed: its entries' pages and their enclosures; raise BadEncoding where it is none."""
    body = io.BytesIO(response.body)  # bytes alone would be taken for the name of a file first
    parsed = feedparser.parse(body, response_headers={"content-location": response.url}, sanitize_html=False)
    if not parsed.get("version"):
        raise BadEncoding("not an RSS or Atom feed")
    listing = Listing()
    for entry in parsed.entries:
        if url := canonical(entry.get("link") or "", response.url):
            listing.pages.append(url)
        for enclosure in entry.get("enclosures", ()):
            kind = str(enclosure.get("type") or "")
            if (url := canonical(enclosure.get("href") or "", response.url)) and not kind.startswith("video/"):
                listing.media.append(url)
    return listing
