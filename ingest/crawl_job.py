"""The crawl stage: sources in, sealed segments and their `pages` and `rejects` out."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from catalog.errors import InputError
from catalog.progress import Bar, bar
from catalog.settings import Config
from catalog.stage import Stage, StageReport
from ingest.settings import IngestSettings
from ingest.source_settings import FILE_KINDS, Source, scheme_of

if TYPE_CHECKING:
    from catalog.home import Home
    from ingest.crawl import Crawl
    from ingest.frontier import Frontier, Kind, Settled, Task
    from ingest.local import Intake
    from ingest.recorder import Recorder

log = logging.getLogger("headrace")
BROUGHT = ("fetched", "unchanged", "lists")


def run_crawl(home: "Home", config: Config) -> StageReport:
    """Visit every source once and publish what was new; a run that finds nothing new publishes nothing."""
    from ingest.frontier import Frontier
    from ingest.recorder import Recorder

    settings = config.section(IngestSettings)
    started = time.monotonic()
    report = StageReport("crawl")
    with _alone(home.root), bar("crawl") as progress:
        frontier = Frontier(home.root / "frontier.db", settings.network)
        try:
            recorder = Recorder(home.root / "crawl", home.warehouse, frontier, settings.network)
            if frontier.is_empty():
                frontier.restore(_stored(home))
            asyncio.run(_crawl(home, settings, frontier, recorder, progress, report))
        finally:
            frontier.close()
    report.seconds = time.monotonic() - started
    report.notes += _notes(recorder.counts, settings.data_sources)
    return report


async def _crawl(
    home: "Home",
    settings: IngestSettings,
    frontier: "Frontier",
    recorder: "Recorder",
    progress: Bar,
    report: StageReport,
) -> None:
    from ingest.crawl import Crawl
    from ingest.fetch import Fetcher
    from ingest.local import Intake

    if left := recorder.recover():
        log.info("crawl: took up %d segments of an interrupted run", left)
    sources = {source.url: source for source in settings.data_sources}
    frontier.begin(list(sources.values()), time.time())
    publishing = asyncio.create_task(recorder.publish_all(lambda path: _publish(home, path, report)))
    intake = Intake(frontier, recorder, settings.network, progress)
    async with Fetcher(settings.network) as fetcher:
        crawl = Crawl(sources, settings.network, frontier, recorder, fetcher, progress)
        local = [source for source in sources.values() if source.kind in FILE_KINDS]
        work = asyncio.create_task(_take_in(crawl, intake, local))
        try:
            ends: list[asyncio.Future[Any]] = [work, publishing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not work.done():  # interrupted, or the ledger refused
                work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            recorder.finish()  # what was fetched is kept in any case
            await publishing
        work.result()


async def _take_in(crawl: "Crawl", intake: "Intake", local: list[Source]) -> None:
    """Visit and read everything; what tables name on the web is visited when they are read."""
    for source in local:
        await intake.check(source)
    crawl.seed()
    await asyncio.gather(crawl.run(), *(intake.run(source) for source in local))
    if crawl.frontier.fresh:
        await crawl.run()


def _publish(home: "Home", path: str, report: StageReport) -> None:
    """Publish the rows of one sealed segment, identified by its SHA-256."""
    from ingest.segments import segment_tables

    tables = segment_tables(home.warehouse, path)
    num_in = sum(table.num_rows for table in tables.values())
    key = Path(path).name.removesuffix(".warc.gz")
    done = home.publish_origin(CRAWL, key, num_in, tables, {"segment": path})
    for name in ("batches", "num_in", "num_processed", "num_rejected"):
        setattr(report, name, getattr(report, name) + getattr(done, name))
    report.outputs = dict(Counter(report.outputs) + Counter(done.outputs))
    report.rejects = dict(Counter(report.rejects) + Counter(done.rejects))


def _stored(home: "Home") -> Iterator[tuple["Task", "Settled"]]:
    """Yield what the tables know of each page, for a home whose frontier was lost."""
    from ingest.frontier import OK, Settled, Task
    from ingest.urls import host_of

    columns = ["url", "source", "depth", "referrer", "fetched_at", "content_type", "payload_sha256"]
    for row in home.view().read("pages", columns).sort_by("fetched_at").to_pylist():
        web = scheme_of(row["source"]) in ("http", "https") and scheme_of(row["url"]) in ("http", "https")
        host = host_of(row["url"]) if web else ""
        kind: Kind = "page" if row["content_type"].startswith(("text/", "application/xhtml", "application/pdf")) else "media"
        task = Task(row["url"], host, row["source"], kind, row["depth"], row["referrer"], host, 0)
        yield task, Settled(row["url"], OK, row["fetched_at"].timestamp(), payload_sha256=row["payload_sha256"])


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep other crawls out of this home; a killed crawl's lock is gone with its process."""
    try:
        with FileLock(root / "frontier.lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{root}: another crawl is at work on this home; wait for it or use another --root") from error


def _notes(counts: Counter[str], sources: tuple[Source, ...]) -> list[str]:
    """Sum a run up in sentences."""
    if not sources:
        return ["no data_sources are configured; add one to crawl something"]
    notes = [f"{counts['fetched']} fetched, {counts['unchanged']} unchanged"]
    if not any(counts[name] for name in BROUGHT):
        notes.append("no source could be reached; check data_sources, the network and network.allow_private_hosts")
    return notes


CRAWL = Stage(
    name="crawl",
    reads=(),
    tables=("pages",),
    result_version=1,
    settings=lambda config: {},
    run=run_crawl,
)
