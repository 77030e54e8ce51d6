"""Archives of other crawlers: WARC and WET files, verified, resumed by offset, read on behind damage (ISO 28500)."""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from types import TracebackType
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from catalog.errors import Corrupt
from catalog.schema import Reason
from catalog.warc import parse_http
from ingest.fetch import BadEncoding, Failure, Response, TooLarge, decode_body
from ingest.inputs import READ_ERRORS, File, find_files, open_input
from ingest.settings import NetworkSettings
from ingest.source_settings import Source, scheme_of
from ingest.sources import Item, content_type_of, judge_status, judge_type
from ingest.urls import canonical

SUFFIXES = (".warc", ".wet")
LISTING = re.compile(r"\.paths(\.gz)?$")
LISTED = "listed"  # the signature of what a listing names elsewhere: published archives stay as they are
COMMON_CRAWL = "https://data.commoncrawl.org/"
GZIP_MAGIC = b"\x1f\x8b\x08"
PLAIN_MAGIC = b"WARC/"
OTHER_MAGIC = (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # zstd, lz4
CHUNK = 1 << 20
MAX_HEADER_BYTES = 64 << 10
HEAD = 512  # bytes that show what begins
DIGEST_DIFFERS = Failure(Reason.CORRUPT, "the payload does not have its WARC-Payload-Digest")
BASE32 = str.maketrans(  # RFC 4648 → the digits of Python's int()
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz234567",
    "0123456789abcdefghijklmnop" * 2 + "qrstuv",
)  # fmt: skip
REVISIT, CONTINUATION = WarcRecordType.revisit, WarcRecordType.continuation
READ = (
    WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion | WarcRecordType.revisit
    | WarcRecordType.continuation
)  # fmt: skip
BOOKKEEPING = ("dns:", "whois:", "metadata:")  # records that crawlers write for themselves
ALGORITHMS = {"md5": 16, "sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}  # → bytes


class Unreadable(Exception):
    """The disk or the network failed, as opposed to an archive that is damaged."""


UNREADABLE: tuple[type[Exception], ...] = (Unreadable, *READ_ERRORS)


class _Steady:
    """A stream whose own failures are told from those of what it holds."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __enter__(self) -> "_Steady":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        """Read like the stream; raise Unreadable."""
        try:
            return self._stream.read(size)
        except READ_ERRORS as error:
            raise Unreadable(error) from error

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek like the stream."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Tell like the stream."""
        return self._stream.tell()


def find_archives(source: Source, network: NetworkSettings) -> Iterator[File]:
    """Yield the archives of a source: its own files, or those that its `warc.paths` listing names."""
    for file in find_files(source.url, (*SUFFIXES, ".paths"), network):
        if not LISTING.search(file.path):
            yield file
            continue
        names = _read_listing(file, network)
        base = source.base or (COMMON_CRAWL if names and names[0].startswith("crawl-data/") else None)
        for name in names:
            place = f"{base.rstrip('/') if base else file.path.rpartition('/')[0]}/{name}"
            if scheme_of(place) in ("", "file"):
                yield from find_files(place, SUFFIXES, network)
            else:
                yield File(place, LISTED)


def _read_listing(file: File, network: NetworkSettings) -> list[str]:
    """Return the names in a listing, packed or not; raise OSError where it is no listing or larger than max_bytes."""
    most = int(network.max_bytes)
    with open_input(file.path, network) as stream:
        content = stream.read(most + 1)
    try:
        if len(content) <= most and content.startswith(GZIP_MAGIC):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most + 1)
        if len(content) > most:
            raise OSError(f"{file.path}: a listing of more than network.max_bytes {most} bytes")
        return content.decode("utf-8").split()
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        raise OSError(f"{file.path}: not a listing of archives: {error}") from error


def read_archive(file: File, first: int, network: NetworkSettings, verify: bool = True) -> Iterator[Item]:
    """Yield what the records at byte `first` and behind bring; a damaged stretch is one Failure, and reading goes on.

    `verify` compares the digests that records carry. A Failure that says `again` ends the reading before the file ends.
    """
    try:
        with _Steady(open_input(file.path, network)) as stream:
            position: int | None = max(first - 1, 0)  # the last record taken, read again to find the one behind it
            if position and not _starts_record(stream, position):
                first = position = 0  # packed as one stream: known records are recognised instead
            lost: Item | None = None
            while position is not None:
                limits = (int(network.max_bytes), verify)
                position, lost = yield from _read_from(stream, file, (position, first), limits, lost)
    except UNREADABLE as error:
        yield Item(
            file.url,
            Failure(Reason.UNREACHABLE, f"{file.path}: {type(error).__name__}: {error}"[:500], again=True),
            file=file.path,
        )


def _read_from(
    stream: _Steady, file: File, start: tuple[int, int], limits: tuple[int, bool], lost: Item | None
) -> Generator[Item, None, tuple[int | None, Item | None]]:
    """Yield the records from a position on; return where to go on behind damage (None: nowhere) and what it cost.

    What was lost before this position is told once a record is read whole: the one that follows a broken stretch may
    be the broken one, and then says so itself.
    """
    position, first = start
    stream.seek(position)
    at, told = position, False
    try:
        for record in ArchiveIterator(stream, record_types=READ, parse_http=False, max_header_len=MAX_HEADER_BYTES):
            at = record.stream_pos
            if at >= first and (item := _read_record(record, file, limits)):
                told = isinstance(item.content, Failure) and item.content.reason is Reason.CORRUPT
                if lost is not None and not told:
                    yield lost
                lost = None
                yield item
    except OSError as error:
        following = _next_record(stream, at + 1)
        if not told and lost is None:
            until = "the end of the file" if following is None else f"byte {following}"
            detail = f"{file.path}: damaged between byte {at} and {until}: {error}"
            lost = Item(f"{file.url}#offset={at}", Failure(Reason.CORRUPT, detail), file=file.path, index=at)
        if following is not None:
            return following, lost
    if lost is not None:
        yield lost
    return None, None


def _starts_record(stream: _Steady, position: int) -> bool:
    stream.seek(position)
    head = stream.read(HEAD)
    if not head.startswith(GZIP_MAGIC):
        return head.startswith((PLAIN_MAGIC, *OTHER_MAGIC))
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, len(PLAIN_MAGIC)) == PLAIN_MAGIC
    except zlib.error:
        return False


def _next_record(stream: _Steady, start: int) -> int | None:
    """Return the offset of the first whole-looking record at `start` or behind it."""
    stream.seek(0)
    packed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    magic = GZIP_MAGIC if packed else b"\r\n\r\n" + PLAIN_MAGIC
    offset, window = start, b""
    while True:
        stream.seek(offset + len(window))
        chunk = stream.read(CHUNK)
        if not chunk:
            return None
        window += chunk
        for found in re.finditer(re.escape(magic), window):
            candidate = offset + found.start() + (0 if packed else 4)
            if _starts_record(stream, candidate):
                return candidate
        kept = len(magic) - 1
        offset, window = offset + len(window) - kept, window[-kept:]


def _read_record(record: WarcRecord, file: File, limits: tuple[int, bool]) -> Item | None:
    get = record.headers.get
    raw = (get("WARC-Target-URI") or "").strip("<>")
    url = canonical(raw)
    if url is None and raw.startswith(BOOKKEEPING):
        return None
    date = record.record_date
    content, typed = _read_content(record, url or "", raw, limits)
    return Item(
        url or raw or f"{file.url}#offset={record.stream_pos}", content, typed, file=file.path,
        index=record.stream_pos, fetched_at=date.timestamp() if date else None,
    )  # fmt: skip


def _read_content(record: WarcRecord, url: str, raw: str, limits: tuple[int, bool]) -> tuple[Response | Failure, str]:
    """Return what a record brings, and its media type."""
    max_bytes, verify = limits
    if failure := _refusal(record, url, raw, max_bytes):
        return failure, ""
    block = _read_block(record, verify)
    if isinstance(block, Failure):
        return block, ""
    get = record.headers.get
    # The payload's digest tells nothing more of a verified block, and writers disagree on what it covers.
    digest = get("WARC-Payload-Digest") if verify and not get("WARC-Block-Digest") else None
    digest = None if digest and get("WARC-Truncated") else digest
    if record.is_http:
        return _http_content(url, block, max_bytes, digest)
    if digest and not _matches(block, digest):
        return DIGEST_DIFFERS, ""
    response = Response(url, 200, (("Content-Type", get("Content-Type") or "text/plain"),), block)
    typed = content_type_of(response, media=False)
    return judge_type(typed) or response, typed


def _refusal(record: WarcRecord, url: str, raw: str, max_bytes: int) -> Failure | None:
    """Say from a record's own headers why it brings nothing, or None."""
    kind = record.record_type
    if not url:
        return Failure(Reason.BAD_URL, f"'{raw[:200]}' is not an http or https URL")
    if kind == REVISIT:
        earlier = _earlier(record) or "a record that it does not name"
        return Failure(Reason.MISSING_PAYLOAD, f"a revisit of {earlier}, without payload")
    if kind == CONTINUATION or record.headers.get("WARC-Segment-Number"):
        return Failure(Reason.BAD_RESPONSE, "one segment of a record that was split (WARC-Segment-Number)")
    if record.content_length > max_bytes:
        return Failure(Reason.TOO_LARGE, f"{record.content_length} bytes, more than {max_bytes}")
    return None


def _read_block(record: WarcRecord, verify: bool) -> bytes | Failure:
    length, at = record.content_length, record.stream_pos
    try:
        block = record.reader.read(length)
    except OSError as error:
        return Failure(Reason.CORRUPT, f"record at {at} is damaged: {error}")
    if len(block) != length:
        return Failure(Reason.CORRUPT, f"record at {at} is cut off after {len(block)} of {length} bytes")
    digest = record.headers.get("WARC-Block-Digest") if verify else None
    if digest and not _matches(block, digest):
        return Failure(Reason.CORRUPT, f"record at {at} does not have its WARC-Block-Digest")
    return block


def _earlier(record: WarcRecord) -> str:
    names = ("WARC-Refers-To-Target-URI", "WARC-Refers-To-Date")
    return " of ".join(value for name in names[::-1] if (value := record.headers.get(name)))


def _http_content(url: str, block: bytes, max_bytes: int, digest: str | None) -> tuple[Response | Failure, str]:
    try:
        message = parse_http(block)
        response = Response(url, message.status, message.headers, message.body)
        if message.status == 304:
            return Failure(Reason.MISSING_PAYLOAD, "HTTP 304 (not modified), without payload"), ""
        if 300 <= message.status < 400:
            return Failure(Reason.REDIRECTED, f"{message.status} to {message.get('Location') or 'nowhere'}"), ""
        typed = content_type_of(response, media=False)
        if failure := judge_status(response) or judge_type(typed):
            return failure, ""
        if encodings := response.get("content-encoding"):
            response = replace(response, body=_decode(message.body, encodings, max_bytes))
    except (Corrupt, BadEncoding) as error:
        return Failure(Reason.BAD_RESPONSE, str(error)), ""
    except TooLarge:
        return Failure(Reason.TOO_LARGE, f"more than {max_bytes} bytes"), ""
    if digest:
        stored = block.partition(b"\r\n\r\n")[2]  # with its chunk sizes: some writers count these in
        if not any(_matches(body, digest) for body in (message.body, stored, response.body)):
            return DIGEST_DIFFERS, ""
    return response, typed


def _decode(body: bytes, encodings: str, max_bytes: int) -> bytes:
    try:
        return decode_body(body, encodings, max_bytes)
    except BadEncoding:
        if body.lstrip()[:1] == b"<":  # stored decoded, under the headers as they came
            return body
        raise


def _matches(content: bytes, declared: str) -> bool:
    """Compare bytes with a digest like sha1:BASE32 or sha-256:hex; true where the algorithm is not known."""
    name, _, value = declared.partition(":")
    name = name.strip().lower().replace("-", "")
    if name not in ALGORITHMS:
        return True
    digest = hashlib.new(name, content, usedforsecurity=False).digest()
    value = value.strip()
    if len(value) == 2 * ALGORITHMS[name]:
        return digest.hex() == value.lower()
    try:  # several times as fast as base64.b32decode
        number = int(value.rstrip("=").translate(BASE32), 32)
    except ValueError:
        return False
    return number == int.from_bytes(digest, "big") << (-8 * len(digest) % 5)
