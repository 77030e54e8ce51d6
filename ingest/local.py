"""Taking in local sources, folders and WARC files, through the same segments as the web."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

from catalog.progress import Bar
from catalog.schema import Reason
from ingest.fetch import Failure, Response
from ingest.frontier import Frontier, Task
from ingest.links import HTML_TYPES, Page, licence_of, read_page, rights_of
from ingest.recorder import Recorder
from ingest.segments import Origin
from ingest.settings import Source
from ingest.sources import Item, list_folder, read_file, read_warc, signature_of, warc_files
from ingest.urls import file_url


@dataclass
class Intake:
    """Reads local sources into the recorder; what is stored already is passed over."""

    frontier: Frontier
    recorder: Recorder
    max_bytes: int
    progress: Bar

    async def run(self, source: Source) -> None:
        """Take in one source; a path that is not there is a reject, not an error."""
        if source.kind == "folder":
            await self._folder(source)
        else:
            await self._warcs(source)

    async def _folder(self, source: Source) -> None:
        files = await asyncio.to_thread(list_folder, source.url)
        if not files:
            await self._missing(source, "no such file or folder, or nothing in it")
        for file in files:
            _, known, _ = self.frontier.known(file_url(str(file)))
            if known is None or known != signature_of(file):
                await self._take(source, await asyncio.to_thread(read_file, file, self.max_bytes))

    async def _warcs(self, source: Source) -> None:
        files = await asyncio.to_thread(warc_files, source.url)
        if not files:
            await self._missing(source, "no such WARC file")
        for file in files:
            first = self.frontier.readings.resume(str(file), signature_of(file))
            items: Iterator[Item] = read_warc(file, first, self.max_bytes)
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                await self._take(source, item)

    async def _missing(self, source: Source, detail: str) -> None:
        await self._take(source, Item(source.url, Failure(Reason.UNREACHABLE, detail)))

    async def _take(self, source: Source, item: Item) -> None:
        outcome, _, payload = self.frontier.known(item.url)
        task = Task(item.url, "", source.url, "page", 0, None, "", 0, outcome, None, None, payload)
        date = item.fetched_at or time.time()
        page: Page | None = None
        rights = licence = ""
        if isinstance(item.content, Response) and not item.resource:
            if item.content_type in HTML_TYPES:
                page = await asyncio.to_thread(read_page, item.content)
            rights, licence = rights_of(item.content, page), licence_of(item.content, page)
        status = item.content.status if isinstance(item.content, Response) else None
        origin = Origin(
            "page", "", source.url, source.source_class, 0, None, "", None if item.resource else status, etag=item.signature, rights=rights,
            licence=licence, file=item.file, index=item.index,
        )  # fmt: skip
        if isinstance(item.content, Failure):
            self.recorder.reject(task, item.content, origin, date)
        else:
            await self.recorder.keep(task, item.content, item.content_type, origin, date)
        self.progress.advance()
