"""What sources bring: records of files, archives and tables, and which answers are worth keeping."""

from dataclasses import dataclass, field
from pathlib import Path

from catalog.schema import Reason
from ingest.fetch import Failure, Response
from ingest.hints import Hints
from ingest.inputs import signature_of
from ingest.urls import file_url, type_by_name

TEXT_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/pdf")
MEDIA_TYPES = ("image/", "audio/", "video/", "application/ogg")
UNSAID = ("", "application/octet-stream", "binary/octet-stream")  # the server does not know either
GONE = (404, 410)


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
    hints: Hints = field(default_factory=Hints)
    licence: str = ""


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
