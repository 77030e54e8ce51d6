"""Rows of tables as records: which column holds what, and the page and media that one row is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.errors import ConfigError
from catalog.schema import Reason
from ingest.fetch import Failure, Response
from ingest.hints import Hints, Medium, day_of
from ingest.inputs import READ_ERRORS, File, find_files, open_input
from ingest.settings import NetworkSettings
from ingest.sniff import sniff
from ingest.source_settings import Source, scheme_of
from ingest.sources import MEDIA_TYPES, Item
from ingest.tables import DAMAGE_ERRORS, SUFFIXES, NotATable, column_names, read_rows
from ingest.urls import canonical, file_url, quote_id, type_by_name

# The names by which columns are known, the likeliest first.
NAMES: dict[str, tuple[str, ...]] = {
    "html": ("html", "raw_html", "page_html"),
    "markdown": ("markdown", "md"),
    "text": ("text", "content", "body", "article", "document", "raw_content", "caption", "maintext"),
    "url": ("url", "source_url", "page_url", "link", "uri"),
    "image": ("image", "images", "image_url", "image_path", "img", "picture", "jpg", "png"),
    "audio": ("audio", "audio_url", "audio_path", "recording", "wav", "mp3", "flac"),
    "title": ("title", "headline"),
    "author": ("author", "authors", "byline"),
    "date": ("date", "published", "published_at", "date_published", "publish_date", "created_at", "timestamp"),
    "language": ("language", "lang"),
    "licence": ("licence", "license", "rights"),
    "id": ("id", "_id", "uuid", "doc_id"),
}
CONTENT = {"html": "text/html", "markdown": "text/markdown", "text": "text/plain"}
MEDIA = ("image", "audio")
NONE = "-"
DAMAGED: tuple[type[Exception], ...] = (NotATable, *DAMAGE_ERRORS)
UNREADABLE = (*DAMAGED, *READ_ERRORS)


def find_tables(source: Source, network: NetworkSettings) -> Iterator[File]:
    """Yield a source's tables, in order."""
    yield from find_files(source.url, SUFFIXES, network)


def check_columns(source: Source, network: NetworkSettings) -> None:
    """Raise ConfigError where the first table of a source lacks a named column, or any with content."""
    try:
        file = next(find_tables(source, network), None)
        names = column_names(file, network) if file else None
    except UNREADABLE:
        return  # a reject says so when it is read
    if file and names is not None and isinstance(problem := choose_columns(source, names), str):
        raise ConfigError(f"data_sources: '{source.url}': {file.path}: {problem}")


def choose_columns(source: Source, names: list[str]) -> dict[str, str] | str:
    """Return the column of each role, those of the settings first; or say what is wrong with them."""
    chosen: dict[str, str] = {}
    for role, name in source.columns.model_dump(exclude_none=True).items():
        if name != NONE and name not in names:
            return f"there is no column '{name}' (columns.{role}); there are: {', '.join(names) or 'none'}"
        chosen[role] = name
    by_name = {name.lower(): name for name in reversed(names) if name not in chosen.values()}
    for role, known in NAMES.items():
        if role not in chosen and (found := next((by_name[name] for name in known if name in by_name), None)):
            chosen[role] = found
    chosen = {role: name for role, name in chosen.items() if name != NONE}
    if not chosen.keys() & {*CONTENT, *MEDIA, "url"}:
        listed = ", ".join(names) or "none"
        return f"no column holds text, markdown, html, url, image or audio; say which under `columns`: {listed}"
    return chosen


def read_table(file: File, first: int, source: Source, network: NetworkSettings) -> Iterator[Item]:
    """Yield what the rows from number `first` on bring; a Failure that says `again` ends the reading too early."""
    number = first
    try:
        columns = choose_columns(source, column_names(file, network))
        if isinstance(columns, str):
            yield Item(file.url, Failure(Reason.BAD_ROW, f"{file.path}: {columns}"), file=file.path)
            return
        reader = _Reader(file, columns, source.base, network)
        for number, row in read_rows(file, first, tuple(columns.values()), network):
            yield from reader.items(number, row)
    except DAMAGED as error:
        damaged = f"{file.path}: damaged behind row {number + 1}: {error}"
        detail = str(error) if isinstance(error, NotATable) else damaged
        yield Item(file.url, Failure(Reason.CORRUPT, detail[:500]), file=file.path)
    except READ_ERRORS as error:
        detail = f"{file.path}: {type(error).__name__}: {error}"[:500]
        yield Item(file.url, Failure(Reason.UNREACHABLE, detail, again=True), file=file.path)


class BadRow(ValueError):
    """A row whose cells are not what their column should hold."""


@dataclass(frozen=True)
class _Reader:
    """Turns rows of one table into records."""

    file: File
    columns: Mapping[str, str]
    base: str | None
    network: NetworkSettings

    def items(self, number: int, row: Mapping[str, Any] | Failure) -> Iterator[Item]:
        """Yield the media of a row, then its page; the last one carries the row's number."""
        address = f"{self.file.url}#row={number + 1}"
        if isinstance(row, Failure):
            yield Item(address, row, file=self.file.path, index=number, referrer=self.file.url)
            return
        cells = {role: row.get(name) for role, name in self.columns.items()}
        if cells.get("id") not in (None, ""):
            address = f"{self.file.url}#id={quote_id(str(cells['id']))}"
        try:
            items = list(self._items(cells, address))
        except BadRow as error:
            detail = f"{self.file.path}: row {number + 1}: {error}"
            items = [Item(address, Failure(Reason.BAD_ROW, detail))]
        last = len(items) - 1
        for place, item in enumerate(items):
            yield replace(
                item, file=self.file.path, index=number if place == last else None,
                referrer=item.referrer or f"{self.file.url}#row={number + 1}",
            )  # fmt: skip

    def _items(self, cells: Mapping[str, Any], address: str) -> Iterator[Item]:
        url = self._url(cells.get("url")) or address
        content_type, payload = _content(cells)
        media = [item for kind in MEDIA for item in self._media(cells.get(kind), kind, address, url)]
        shown = tuple(Medium(item.url, item.content_type.partition("/")[0]) for item in media)
        hints = Hints(
            title=_plain(cells.get("title"), "title"), author=_plain(cells.get("author"), "author"),
            date=day_of(cells.get("date")), language=_plain(cells.get("language"), "language")[:2].lower(),
            media=tuple(medium for medium in shown if medium.kind in MEDIA),
        )  # fmt: skip
        licence = _plain(cells.get("licence"), "licence")
        alone = Hints() if payload else replace(hints, media=())
        for item in media:
            yield replace(item, hints=alone, licence=licence)
        if payload:
            response = Response(url, 200, (("Content-Type", content_type),), payload)
            yield Item(url, _fits(response, self.network), content_type, resource=True, hints=hints, licence=licence)
        elif not media:
            if url == address:
                held = (repr(name) for role, name in self.columns.items() if role in (*CONTENT, *MEDIA))
                raise BadRow(f"nothing in {', '.join(held)}")
            yield Item(url, None, hints=hints)

    def _url(self, value: object) -> str | None:
        if value in (None, ""):
            return None
        url = canonical(value) if isinstance(value, str) else None
        if url is None:
            raise BadRow(f"column '{self.columns['url']}': '{str(value)[:200]}' is not an http or https URL")
        return url

    def _media(self, value: Any, kind: str, address: str, page: str) -> Iterator[Item]:
        """Yield the media of one cell: bytes, a path or URL, a saved dataset's {bytes, path}, or a list of these."""
        values = value if isinstance(value, list) else [value]
        for place, one in enumerate(value for value in values if value not in (None, "", b"")):
            given = one if isinstance(one, dict) else {"bytes": one} if isinstance(one, bytes) else {"path": one}
            content, path = given.get("bytes"), given.get("path")
            if isinstance(content, bytes):
                yield self._embedded(content, f"{address}&{kind}={place + 1}", path)
            elif isinstance(path, str) and path:
                yield self._named(path, kind, page)
            else:
                raise BadRow(f"column '{self.columns[kind]}' holds {type(one).__name__}, no bytes, path or URL")

    def _embedded(self, content: bytes, url: str, path: object) -> Item:
        found = sniff(content, type_by_name(file_url(f"/{path}")) if isinstance(path, str) else "", url)
        if not found.content_type.startswith(MEDIA_TYPES):
            return Item(url, Failure(Reason.WRONG_TYPE, found.content_type))
        response = Response(url, 200, (("Content-Type", found.content_type),), content)
        return Item(url, _fits(response, self.network), found.content_type, resource=True)

    def _named(self, path: str, kind: str, page: str) -> Item:
        if url := canonical(path):  # on the web: fetched by the crawler's rules
            return Item(url, None, content_type=f"{kind}/*", referrer=page)
        try:
            place = _below(path, self.base or self.file.path.rpartition("/")[0])
        except ValueError as error:
            raise BadRow(str(error)) from error
        url = place if scheme_of(place) else file_url(place)
        named = type_by_name(url)
        if not named.startswith(MEDIA_TYPES):
            return Item(url, Failure(Reason.WRONG_TYPE, named))
        try:
            with open_input(place, self.network) as stream:
                content = stream.read(int(self.network.max_bytes) + 1)
        except READ_ERRORS as error:
            return Item(url, Failure(Reason.UNREACHABLE, f"{place}: {error}"[:300]))
        response = Response(url, 200, (("Content-Type", named),), content)
        return Item(url, _fits(response, self.network), named, resource=True)


def _content(cells: Mapping[str, Any]) -> tuple[str, bytes]:
    """Return type and bytes of a row's text, of the richest kind that it has."""
    for role, content_type in CONTENT.items():
        value = cells.get(role)
        if isinstance(value, bytes) and value:
            return content_type, value
        if value not in (None, "", b""):
            if not isinstance(value, str):
                raise BadRow(f"its {role} is {type(value).__name__}, not text")
            if value.strip():
                return content_type, value.encode("utf-8", "replace")
    return "", b""


def _fits(response: Response, network: NetworkSettings) -> Response | Failure:
    limit = int(network.max_bytes)
    return response if len(response.body) <= limit else Failure(Reason.TOO_LARGE, f"more than {limit} bytes")


def _plain(value: object, role: str) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value if item)
    if isinstance(value, dict | bytes):
        raise BadRow(f"its {role} is {type(value).__name__}, not text")
    return "" if value is None else str(value)


def _below(path: str, base: str) -> str:
    """Return the place of a relative path; raise ValueError where a table points out of its folder."""
    if scheme_of(base) not in ("", "file"):
        if ".." in path.split("/") or scheme_of(path) or path.startswith("/"):
            raise ValueError(f"'{path[:200]}' is not below {base}")
        return f"{base.rstrip('/')}/{path}"
    root = Path(base.removeprefix("file://")).expanduser().resolve()
    place = (root / path.removeprefix("file://")).resolve()
    if not place.is_relative_to(root):
        raise ValueError(f"'{path[:200]}' is not below {root}; `base` names the folder of the media")
    return str(place)
