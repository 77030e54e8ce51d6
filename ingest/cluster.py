"""Crawling in several processes: each owns a share of all hosts, and what it finds of other hosts goes to their owners.

The driver carries messages, publishes sealed segments and says when all is done; the processes know nothing of each
other. A link is forgotten by its finder only after its owner has stored it, and storing it twice is harmless; so a kill
anywhere loses none.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path

from catalog.errors import HeadraceError, WorkerLost
from catalog.flow import Remote
from catalog.progress import Bar
from catalog.tombstones import NOTHING, Forgotten
from ingest.crawl import Crawl
from ingest.crawl_run import Going, crawl_share
from ingest.frontier import Frontier, Task
from ingest.layout import staging
from ingest.partition import Partition, frontier_path, part_of
from ingest.recorder import Recorder
from ingest.settings import IngestSettings

LINKS = 2000  # carried in one message
PAUSE = 0.05  # seconds between two rounds in which nothing happened


@dataclass(frozen=True)
class Inbox:
    """What the driver tells a share: found URLs, the outgoing ones that have arrived, what is published, to end."""

    links: tuple[Task, ...] = ()
    delivered: int = 0
    under_way: int = 0  # the driver's own note: what `delivered` will be in the next message
    published: tuple[str, ...] = ()
    stop: bool = False


@dataclass(frozen=True)
class Report:
    """What a share tells the driver."""

    links: tuple[tuple[int, Task], ...] = ()
    stored: tuple[str, ...] = ()  # segments that lie in the warehouse and wait to be published
    idle: bool = False  # nothing is left to do unless links come
    done: bool = False
    visits: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class Share:
    """One share's crawl, in a thread with an event loop; `exchange` is the only door."""

    def __init__(
        self, root: Path, warehouse: str, settings: IngestSettings, part: Partition, forgotten: Forgotten = NOTHING
    ) -> None:
        self._place = (root, warehouse, settings, part)
        self._forgotten = forgotten
        self._waiting: dict[str, threading.Event] = {}  # stored segments, by path
        self._told: set[str] = set()
        self._carried = 0  # the last outgoing link that the driver was given
        self._going: Going | None = None
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._bar = _Count()
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _live(self) -> None:
        try:
            asyncio.run(self._crawl())
        except BaseException as error:  # noqa: BLE001 — raised in `exchange`, where somebody listens
            self._error = error
        finally:
            self._ready.set()

    async def _crawl(self) -> None:
        root, warehouse, settings, part = self._place
        frontier = Frontier(frontier_path(root, part), settings.network, part, self._forgotten)
        try:
            recorder = Recorder(staging(root, part), warehouse, frontier, settings.network)
            self._counts = recorder.counts
            self._loop = asyncio.get_running_loop()
            await crawl_share(settings, frontier, recorder, self._bar, self._hand_over, self._started)
        finally:
            frontier.close()

    def _started(self, going: Going) -> None:
        going.crawl.standby = True
        self._going = going
        self._ready.set()

    def _hand_over(self, path: str) -> None:
        """Wait, in a thread, until the driver has published a segment."""
        published = self._waiting[path] = threading.Event()
        published.wait()

    def exchange(self, inbox: Inbox) -> Report:
        """Take in what the driver brings and say what it is to carry away; raise what ended the crawl."""
        for path in inbox.published:
            self._waiting.pop(path).set()
            self._told.discard(path)
        if self._error is not None:
            if isinstance(self._error, HeadraceError):
                raise self._error
            raise WorkerLost(f"crawl: a worker failed: {self._error!r}") from self._error
        stored = tuple(path for path in list(self._waiting) if path not in self._told)
        self._told |= set(stored)
        counts = dict(self._counts)
        if not self._thread.is_alive():
            return Report(stored=stored, done=True, visits=self._bar.visits, counts=counts)
        assert self._going is not None
        links: tuple[tuple[int, Task], ...] = ()
        idle = False
        if not self._going.ended:
            turn = asyncio.run_coroutine_threadsafe(self._turn(self._going, inbox), self._loop)
            while not turn.done() and self._thread.is_alive():
                wait([turn], timeout=PAUSE)
            if turn.done():
                links, idle = turn.result()
        return Report(links, stored, idle, False, self._bar.visits, counts)

    async def _turn(self, going: Going, inbox: Inbox) -> tuple[tuple[tuple[int, Task], ...], bool]:
        crawl: Crawl = going.crawl
        frontier = crawl.frontier
        if inbox.links:
            frontier.receive(inbox.links)
        if inbox.delivered:
            frontier.delivered(inbox.delivered)
        if inbox.stop:
            crawl.standby = False
        if (frontier.fresh and not crawl.over) or inbox.stop:  # woken at every turn, it would never be idle
            crawl.wake()
        links = tuple(frontier.outgoing(LINKS, self._carried))
        self._carried = links[-1][0] if links else self._carried
        return links, crawl.idle and going.read and not links


class _Count(Bar):
    """A progress bar that the driver reads."""

    def __init__(self) -> None:
        super().__init__("crawl", None)
        self.visits = 0

    def advance(self, count: int = 1) -> None:
        self.visits += count

    def note(self, text: str) -> None:
        """Say nothing: the driver speaks."""


def lead(shares: list[Remote], publish: Callable[[str], None], progress: Bar) -> Counter[str]:
    """Carry links between the shares and publish their segments until nothing is left; return what they counted."""
    inboxes = [Inbox() for _ in shares]
    seen = 0
    while True:
        calls = [share.call("exchange", inbox) for share, inbox in zip(shares, inboxes, strict=True)]
        reports: list[Report] = [result() for result in calls]
        visits = sum(report.visits for report in reports)
        progress.advance(visits - seen)
        seen = visits
        for report in reports:
            for path in report.stored:
                publish(path)
        if all(report.done for report in reports):
            return sum((Counter(report.counts) for report in reports), Counter())
        moved = any(report.links or report.stored for report in reports) or any(inbox.links for inbox in inboxes)
        quiet = not moved and all(report.idle for report in reports)
        stop = quiet or any(inbox.stop for inbox in inboxes)
        inboxes = [Inbox(*parts, stop) for parts in zip(*_route(reports, inboxes), strict=True)]
        if not moved:
            time.sleep(PAUSE)


def _route(
    reports: list[Report], before: list[Inbox]
) -> tuple[list[tuple[Task, ...]], list[int], list[int], list[tuple[str, ...]]]:
    """Return, by share: links to take in, those that have arrived by now, those under way, segments published."""
    links: list[list[Task]] = [[] for _ in reports]
    for report in reports:
        for _, task in report.links:
            links[part_of(task.host, len(reports))].append(task)
    under_way = [report.links[-1][0] if report.links else 0 for report in reports]
    return [tuple(one) for one in links], [inbox.under_way for inbox in before], under_way, [r.stored for r in reports]
