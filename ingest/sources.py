"""What sources bring: records of files, archives and tables, and which answers are worth keeping."""

from dataclasses import dataclass
from pathlib import Path

from catalog.schema import Reason
from ingest.fetch import BadEncoding, Failure, Response, TooLarge, decode_body
from ingest.hints import NO_HINTS, Hints
from ingest.inputs import signature_of
from ingest.source_settings import guess_kind
from ingest.urls import file_url, one_line, type_by_name

TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "text/x-markdown", "application/pdf")
MEDIA_TYPES = ("image/", "audio/", "video/", "application/ogg")
USEFUL_TYPES = TEXT_TYPES + MEDIA_TYPES
UNSAID = ("", "application/octet-stream", "binary/octet-stream")  # the server does not know either
GONE = (404, 410)
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Item:
    """One record of a source that is read: what it holds, why it brings nothing, or (None) that it is to be fetched."""

    url: str
    content: Response | Failure | None
    content_type: str = ""
    resource: bool = False  # a file or row, not an HTTP response
    signature: str | None = None  # of a file: size and modification time
    fetched_at: float | None = None  # of a WARC record
    file: str | None = None  # the archive or table
    index: int | None = None  # the record's position in it, once everything of the record came before
    referrer: str | None = None
    hints: Hints = NO_HINTS
    licence: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", one_line(self.url))


def content_type_of(response: Response, media: bool) -> str:
    """Return the declared media type, else what the name in the URL says, else HTML for a page."""
    declared = response.content_type
    if declared not in UNSAID:
        return declared
    named = type_by_name(response.url)
    return named if named not in UNSAID or declared or media else "text/html"


def judge(response: Response, media: bool) -> Failure | None:
    """Say from status and headers alone why a response brings nothing, or None."""
    return judge_status(response) or judge_type(content_type_of(response, media))


def judge_status(response: Response) -> Failure | None:
    """Say why a response with this status brings nothing, or None."""
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
    return None


def judge_type(kind: str) -> Failure | None:
    """Say why a media type is of no use, or None."""
    return None if kind.startswith(USEFUL_TYPES) else Failure(Reason.WRONG_TYPE, kind)


def list_folder(path: str) -> list[Path]:
    """Return the visible files under a local folder (or the one file) in path order; empty where there is nothing."""
    root = Path(path.removeprefix("file://")).expanduser().absolute()
    if root.is_file():
        return [root]
    files = (file for file in root.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(root).parts))


def _unusable(file: Path, named: str) -> Failure | None:
    kind = guess_kind(file.name)
    if kind != "folder":
        return Failure(Reason.WRONG_TYPE, f"{file}: add it to data_sources as a source of kind '{kind}'")
    return judge_type(named)


def refused(signature: str, max_bytes: int) -> str:
    """Return by what a file is known that brought nothing under this limit; under another one it is read again."""
    return f"{signature} not within {max_bytes}"


def read_file(file: Path, max_bytes: int) -> Item:
    """Read one local file whose name tells of a type that can be used."""
    url, signature = file_url(str(file)), signature_of(file)
    named = type_by_name(url)
    if failure := _unusable(file, named):
        return Item(url, failure)
    try:
        with file.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        return Item(url, Failure(Reason.UNREACHABLE, error.strerror or str(error)))
    if len(content) > max_bytes:
        return Item(
            url, Failure(Reason.TOO_LARGE, f"more than {max_bytes} bytes"), signature=refused(signature, max_bytes)
        )
    if content.startswith(GZIP_MAGIC):
        try:
            content = decode_body(content, "gzip", max_bytes)
        except (BadEncoding, TooLarge) as error:
            detail = f"not unpacked: {error or 'too large'}"
            return Item(url, Failure(Reason.CORRUPT, detail), signature=refused(signature, max_bytes))
    response = Response(url, 200, (("Content-Type", named),), content)
    return Item(url, response, named, resource=True, signature=signature)
