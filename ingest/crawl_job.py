"""The crawl stage: sources in, sealed segments and their `pages` and `rejects` out."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from catalog.errors import InputError
from catalog.progress import Bar, bar
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport
from catalog.tombstones import Forgotten
from ingest.partition import WHOLE, Partition, frontier_files, frontier_path, part_of_file
from ingest.settings import IngestSettings
from ingest.source_settings import Source, scheme_of

if TYPE_CHECKING:
    from catalog.home import Home
    from ingest.frontier import Kind, Settled, Task

DEFAULT = Resources(workers=2, cpus=0.5)  # on Ray; a crawl of its own runs in this process
PAGES = ("text/", "application/xhtml", "application/pdf")
BROUGHT = ("fetched", "unchanged", "lists")


def run_crawl(home: "Home", config: Config) -> StageReport:
    """Visit every source once and publish what was new; a run that finds nothing new publishes nothing.

    With engine ray (or a ray_address), several processes crawl, each its own share of the hosts.
    """
    settings = config.section(IngestSettings)
    started = time.monotonic()
    report = StageReport("crawl")
    with alone(home.root), bar("crawl") as progress, _full_disk(home.root):
        resources = config.resources("crawl", DEFAULT)
        spread = config.catalog.engine == "ray" or (config.catalog.engine == "auto" and config.catalog.ray_address)
        count = resources.workers if spread and settings.data_sources else 1
        _arrange(home, settings, count, report)
        if count == 1:
            counts = _crawl_here(home, settings, WHOLE, progress, report)
        else:
            counts = _crawl_spread(home, config, count, progress, report)
    report.seconds = time.monotonic() - started
    report.notes += _notes(counts, settings.data_sources)
    return report


def _crawl_here(
    home: "Home", settings: IngestSettings, part: Partition, progress: Bar, report: StageReport
) -> Counter[str]:
    from ingest.crawl_run import crawl_share
    from ingest.frontier import Frontier
    from ingest.layout import staging
    from ingest.recorder import Recorder

    frontier = Frontier(frontier_path(home.root, part), settings.network, part, Forgotten.of(home))
    try:
        recorder = Recorder(staging(home.root, part), home.warehouse, frontier, settings.network)
        publish = partial(_publish, home, report)
        asyncio.run(crawl_share(settings, frontier, recorder, progress, publish))
        return recorder.counts
    finally:
        frontier.close()


def _crawl_spread(home: "Home", config: Config, count: int, progress: Bar, report: StageReport) -> Counter[str]:
    from catalog import flow
    from ingest.cluster import Share, lead

    settings, forgotten = config.section(IngestSettings), Forgotten.of(home)
    parts = [Partition(index, count) for index in range(count)]
    makers = [partial(Share, home.root, home.warehouse, settings, part, forgotten) for part in parts]
    resources = config.resources("crawl", DEFAULT)
    with flow.spawn("crawl", makers, resources, config.catalog.ray_address) as shares:
        return lead(shares, partial(_publish, home, report), progress)


def _arrange(home: "Home", settings: IngestSettings, count: int, report: StageReport) -> None:
    """Lay the frontier out for so many processes; fill a lost one from the tables."""
    from ingest.frontier import Frontier
    from ingest.layout import arrange

    if not frontier_files(home.root):
        frontier = Frontier(frontier_path(home.root), settings.network)
        frontier.restore(_stored(home))
        frontier.close()
    idle = settings.model_copy(update={"data_sources": ()})
    arrange(home.root, settings.network, count, lambda part: _take_up(home, idle, part, report))


def take_up_all(home: "Home", config: Config) -> None:
    """Publish what an earlier crawl fetched and left, without asking anybody for anything; hold `alone` meanwhile."""
    idle = config.section(IngestSettings).model_copy(update={"data_sources": ()})
    for path in frontier_files(home.root):
        _take_up(home, idle, part_of_file(path), StageReport("crawl"))


def _take_up(home: "Home", idle: IngestSettings, part: Partition, report: StageReport) -> None:
    with bar("crawl") as progress:
        _crawl_here(home, idle, part, progress, report)


@contextmanager
def _full_disk(root: Path) -> Iterator[None]:
    """Say in one line that the frontier cannot be written."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(f"{root}: the frontier cannot be written: {error}; make room and run again") from error


def _publish(home: "Home", report: StageReport, path: str) -> None:
    """Publish the rows of one sealed segment, identified by its SHA-256."""
    from ingest.segment_rows import segment_tables

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

    columns = ["url", "source", "depth", "referrer", "fetched_at", "content_type", "payload_sha256", "rights"]
    for row in home.view().read("pages", columns).sort_by("fetched_at").to_pylist():
        web = scheme_of(row["source"]) in ("http", "https") and scheme_of(row["url"]) in ("http", "https")
        host = host_of(row["url"]) if web else ""
        kind: Kind = (
            "page" if row["content_type"].startswith(("text/", "application/xhtml", "application/pdf")) else "media"
        )
        task = Task(row["url"], host, row["source"], kind, row["depth"], row["referrer"], host, 0)
        known = {"payload_sha256": row["payload_sha256"], "rights": row["rights"] or ""}
        yield task, Settled(row["url"], OK, row["fetched_at"].timestamp(), **known)


@contextmanager
def alone(root: Path) -> Iterator[None]:
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
    if counts.total() and not any(counts[name] for name in BROUGHT):
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
