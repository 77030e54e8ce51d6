"""One crawl over one frontier: what an earlier run left, then the web and the files, published as it comes."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from catalog.progress import Bar
from ingest.crawl import Crawl
from ingest.fetch import Fetcher
from ingest.frontier import Frontier
from ingest.local import Intake
from ingest.recorder import Publish, Recorder
from ingest.settings import IngestSettings
from ingest.source_settings import FILE_KINDS, Source

log = logging.getLogger("headrace")


@dataclass
class Going:
    """A crawl under way, for those who steer it from outside."""

    crawl: Crawl
    read: bool = False  # files are read to their end
    ended: bool = False  # nothing is asked for any more


async def crawl_share(
    settings: IngestSettings,
    frontier: Frontier,
    recorder: Recorder,
    progress: Bar,
    publish: Publish,
    started: Callable[[Going], None] = lambda going: None,
) -> None:
    """Visit and read what belongs to the frontier's share of hosts, and publish every sealed segment."""
    if left := recorder.recover():
        log.info("crawl: took up %d segments of an interrupted run", left)
    sources = {source.url: source for source in settings.data_sources}
    frontier.begin(list(sources.values()), time.time())
    publishing = asyncio.create_task(recorder.publish_all(publish))
    intake = Intake(frontier, recorder, settings.network, progress)
    async with Fetcher(settings.network) as fetcher:
        going = Going(Crawl(sources, settings.network, frontier, recorder, fetcher, progress))
        started(going)
        local = [source for source in sources.values() if source.kind in FILE_KINDS and frontier.partition.owns("")]
        work = asyncio.create_task(_take_in(going, intake, local))
        try:
            ends: list[asyncio.Future[Any]] = [work, publishing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            going.ended = True
            if not work.done():  # interrupted, or the ledger refused
                work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            intake.close()
            recorder.finish()  # what was fetched is kept in any case
            await publishing
        work.result()


async def _take_in(going: Going, intake: Intake, local: list[Source]) -> None:
    """Visit and read everything; what tables name on the web is visited when they are read."""
    crawl = going.crawl
    for source in local:
        await intake.check(source)
    crawl.seed()
    await asyncio.gather(crawl.run(), _read(going, intake, local))
    if crawl.frontier.fresh:
        await crawl.run()


async def _read(going: Going, intake: Intake, local: list[Source]) -> None:
    await asyncio.gather(*(intake.run(source) for source in local))
    going.read = True
