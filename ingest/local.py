"""Taking in sources that are read, folders, archives and tables, through the same segments as the web."""

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from catalog.guard import Stopped
from catalog.progress import Bar
from catalog.schema import Reason
from ingest.archives import find_archives, read_archive
from ingest.fetch import Failure, Response
from ingest.frontier import Frontier, Kind, Task
from ingest.inputs import READ_ERRORS, File, signature_of
from ingest.links import HTML_TYPES, read_page, signals_of
from ingest.members import Origin
from ingest.reader import Reader
from ingest.recorder import Recorder
from ingest.rights import best_licence
from ingest.rights import write as write_rights
from ingest.rows import check_columns, find_tables, read_table
from ingest.settings import NetworkSettings
from ingest.source_settings import Source, scheme_of
from ingest.sources import Item, list_folder, read_file, refused
from ingest.urls import file_url

log = logging.getLogger("headrace")
END = 1 << 62  # the position of a file that was read to its end
LOAD_BYTES = 8 << 20  # read ahead between two looks at the other work of the crawl
LOAD_ITEMS = 64

Read: TypeAlias = tuple[Item, str, str]  # with its rights and its licence


@dataclass
class Intake:
    """Reads files into the recorder; what is stored already is passed over."""

    frontier: Frontier
    recorder: Recorder
    network: NetworkSettings
    progress: Bar

    def __post_init__(self) -> None:
        self._reader = Reader(self.network.max_parse_seconds)

    def close(self) -> None:
        """End the process that parses large pages, if there is one."""
        self._reader.close()

    async def check(self, source: Source) -> None:
        """Raise ConfigError where a table cannot be read as its settings say."""
        if source.kind == "table":
            await asyncio.to_thread(check_columns, source, self.network)

    async def run(self, source: Source) -> None:
        """Take in one source of FILE_KINDS; a path that is not there is a reject, not an error."""
        if source.kind == "folder":
            await self._folder(source)
        else:
            find = find_archives if source.kind == "warc" else find_tables
            await self._files(source, find(source, self.network))

    async def _folder(self, source: Source) -> None:
        files = await asyncio.to_thread(list_folder, source.url)
        if not files:
            await self._missing(source, "no such file or folder, or nothing in it")
        left, max_bytes = source.row_limit, int(self.network.max_bytes)
        for file in files:
            if left is not None and left <= 0:  # the rest waits for the next run
                return
            _, known, _ = self.frontier.known(file_url(str(file)))
            signature = signature_of(file)
            if known is None or known not in (signature, refused(signature, max_bytes)):
                item = await asyncio.to_thread(read_file, file, max_bytes)
                stored = self.recorder.counts["fetched"]
                await self._take(source, (item, "", ""))
                if left is not None:
                    left -= self.recorder.counts["fetched"] > stored

    async def _files(self, source: Source, files: Iterator[File]) -> None:
        left, num_files = source.row_limit, 0
        while (file := await asyncio.to_thread(_next, files)) is not None:
            if isinstance(file, str):
                await self._missing(source, file)
                return
            num_files += 1
            first = self.frontier.readings.resume(file.path, file.signature)
            if first == END:
                continue
            items = self._read(source, file, first)
            whole = True
            while whole and (load := await asyncio.to_thread(_load, items, self._reader, self.network.user_agent)):
                for read in load:
                    stored = self.recorder.counts["fetched"]
                    whole = await self._take(source, read) and whole
                    if left is not None:
                        left -= self.recorder.counts["fetched"] > stored
                        if left <= 0:  # the rest waits for the next run
                            return
            if whole:
                self.recorder.finished(file.path, END)
        if not num_files:
            await self._missing(source, f"no such file, or no {source.kind} in it")

    def _read(self, source: Source, file: File, first: int) -> Iterator[Item]:
        if source.kind == "warc":
            return read_archive(file, first, self.network, source.verify_digests)
        return read_table(file, first, source, self.network)

    async def _missing(self, source: Source, detail: str) -> None:
        log.warning("crawl: %s: %s", source.url, detail)
        await self._take(source, (Item(source.url, Failure(Reason.UNREACHABLE, detail)), "", ""))

    async def _take(self, source: Source, read: Read) -> bool:
        """Record what was read; return False where the rest of its file could not be reached."""
        item, rights, licence = read
        outcome, _, payload = self.frontier.known(item.url)
        task = Task(item.url, "", source.url, "page", 0, item.referrer, "", 0, outcome, None, None, payload)
        if item.content is None:
            self._queue(task, item)
            return True
        status = item.content.status if isinstance(item.content, Response) and not item.resource else None
        origin = Origin(
            "page", "", source.url, source.source_class, 0, item.referrer, "", status, etag=item.signature,
            rights=rights, licence=licence, file=item.file, index=item.index, hints=item.hints.as_dict(),
        )  # fmt: skip
        date = item.fetched_at or time.time()
        if isinstance(item.content, Failure) and item.content.reason is Reason.MISSING_PAYLOAD and payload:
            self.recorder.unchanged(task, date, None, None)  # an archive says that it found what is stored already
        elif isinstance(item.content, Failure):
            self.recorder.reject(task, item.content, origin, date)
        else:
            await self.recorder.keep(task, item.content, item.content_type, origin, date)
        self.progress.advance()
        return not (isinstance(item.content, Failure) and item.content.again and item.index is None)

    def _queue(self, task: Task, item: Item) -> None:
        """Let the crawler fetch what a row only names: a page, or a medium found on the row's page."""
        kind: Kind = "media" if item.content_type else "page"
        found_on = Task(item.referrer or task.url, "", task.source, "page", -1, None, "", 0)
        self.frontier.readings.hint({item.url: item.hints.as_dict()})
        self.frontier.admit(found_on, [item.url], kind)


def _next(files: Iterator[File]) -> File | str | None:
    """Return the next file, None behind the last, or why they cannot be listed."""
    try:
        return next(files, None)
    except READ_ERRORS as error:
        return f"{type(error).__name__}: {error}"[:500]


def _load(items: Iterator[Item], reader: Reader, agent: str) -> list[Read]:
    """Read on for a while."""
    load: list[Read] = []
    size = 0
    for item in items:
        load.append(_rights(item, reader, agent))
        size += len(item.content.body) if isinstance(item.content, Response) else 0
        if size >= LOAD_BYTES or len(load) >= LOAD_ITEMS:
            break
    return load


def _rights(item: Item, reader: Reader, agent: str) -> Read:
    """Add what a record of the web says of its rights; a file of the user's own says nothing.

    A page that cannot be parsed within bounds brings nothing, since what its owner reserves is not known.
    """
    if not isinstance(item.content, Response) or scheme_of(item.url) not in ("http", "https"):
        return item, "", item.licence
    try:
        page = reader.read_here(read_page, item.content, agent) if item.content_type in HTML_TYPES else None
    except (Stopped, MemoryError) as error:
        detail = f"reading its rights: {error or 'needs too much memory'}"
        return replace(item, content=Failure(Reason.EXTRACTOR_FAILED, detail)), "", item.licence
    signals = signals_of(item.content, page)
    return item, write_rights(signals), item.licence or best_licence(signals)
