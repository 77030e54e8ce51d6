"""Visiting web sources: hosts side by side, each at its own pace, robots.txt asked before anything else."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from catalog.guard import Stopped
from catalog.progress import Bar
from catalog.schema import Reason
from ingest.asking import MAX_RETRY_AFTER, Asker
from ingest.feeds import read_feed
from ingest.fetch import BadEncoding, Failure, Fetcher, Response, TooLarge
from ingest.frontier import OK, Frontier, Kind, Settled, Task
from ingest.links import HTML_TYPES, Page, read_page, signals_of
from ingest.listings import Listing
from ingest.members import Origin
from ingest.pace import OutOfTime, Pace
from ingest.reader import Reader
from ingest.recorder import Recorder
from ingest.rights import about_images, best_licence
from ingest.rights import read as read_rights
from ingest.rights import write as write_rights
from ingest.settings import NetworkSettings
from ingest.shares import Shares
from ingest.site_files import SiteFiles
from ingest.sitemaps import read_sitemap
from ingest.source_settings import Source
from ingest.sources import content_type_of, judge
from ingest.urls import canonical, host_of
from ingest.validators import conditions, validator

MAX_LANES = 500  # hosts visited side by side
MAX_WAITING = 2000  # hosts remembered beside those; the frontier names the others when these are through
TURN = 200  # visits after which a host makes way for one that waits
CHUNK = 200  # found URLs recorded at a stretch, so that no other host's answer waits long
HOST_DOWN = (Reason.UNREACHABLE, Reason.TIMEOUT)
MAX_STOPPED = 3  # answers of one host that could not be parsed within bounds, after which it is left alone
MAX_SITEMAPS = 100  # of a robots.txt
MAX_FAILURES = 5  # in a row, after which a host is left alone until the next run


@dataclass
class Crawl:
    """One run over the web sources; every visit ends in the recorder or the frontier."""

    sources: dict[str, Source]
    network: NetworkSettings
    frontier: Frontier
    recorder: Recorder
    fetcher: Fetcher
    progress: Bar

    def __post_init__(self) -> None:
        network = self.network
        shares = {name: source.share for name, source in self.sources.items()}
        budget = network.max_run_visits
        budget = None if budget is None else self.frontier.partition.portion(budget)
        self._shares = Shares(shares, network.concurrency, budget)
        self._deadline = time.monotonic() + (network.max_run_seconds or float("inf"))
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[str] = set()
        self._scanned: str | None = ""  # the host up to which the frontier has named hosts; None: all of them
        self._asker = Asker(network, self.fetcher, self._shares, self._deadline, self.frontier)
        self._files = SiteFiles(network.user_agent, self._asker.site_file, self._asker.site_file_once)
        self._reader = Reader(network.max_parse_seconds)
        self._work = asyncio.Event()  # set when there may be work for hosts without a lane
        self.standby = False  # wait for work from elsewhere instead of ending

    def seed(self) -> None:
        """Queue every web source's entry."""
        kinds: dict[str, Kind] = {"site": "page", "page": "page", "sitemap": "sitemap", "feed": "feed"}
        for source in self.sources.values():
            if source.kind in kinds:
                url = canonical(source.url)
                assert url is not None, "settings accept no other"
                if self.frontier.partition.owns(host_of(url)):
                    self.frontier.seed(source, url, kinds[source.kind], host_of(url))

    @property
    def idle(self) -> bool:
        """Say whether nothing is in flight and nothing can be asked for now."""
        return not self._lanes and not self._work.is_set()

    @property
    def over(self) -> bool:
        """Say whether the run's time or budget is used up."""
        return self._shares.exhausted or time.monotonic() >= self._deadline

    def wake(self) -> None:
        """Look for work again: URLs came from elsewhere, or `standby` has ended."""
        self._work.set()

    async def run(self) -> None:
        """Visit everything that is due, host by host, until nothing is left or time or budget are used up."""
        self._allot()
        try:
            while True:
                self._work.clear()
                self._start_lanes()
                if self._lanes:
                    await self._next_event()
                elif not self._allot():
                    if not self.standby:
                        return
                    await self._work.wait()
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            await asyncio.gather(*self._lanes.values(), return_exceptions=True)
            self._reader.close()

    def _allot(self) -> bool:
        """Share what is left of the budget among the sources that have work; say whether that may bring any."""
        if self.network.max_run_visits is None or self.over:
            return False
        before = self._shares.visits.total()
        self.frontier.activate(self._shares.allot(self.frontier.waiting(self.sources)))
        self._scanned = ""
        worthwhile = before != self._allotted
        self._allotted = before
        return worthwhile

    _allotted = -1  # visits made when the budget was last shared out

    def _start_lanes(self) -> None:
        """Give lanes to hosts that have work, as many as there is room for."""
        if self.over:
            return
        now = time.time()
        fresh, self.frontier.fresh = self.frontier.fresh, set()
        if len(self._waiting) + len(fresh) <= MAX_WAITING:
            self._waiting |= fresh
        elif fresh:
            self._scanned = ""
        if not self._waiting - self._lanes.keys() and self._scanned is not None:
            named = self.frontier.hosts(now, self._scanned, MAX_WAITING)
            self._scanned = named[-1] if len(named) == MAX_WAITING else None
            self._waiting |= set(named)
        for host in sorted(self._waiting - self._lanes.keys())[: MAX_LANES - len(self._lanes)]:
            self._waiting.discard(host)
            pace = self._asker.pace(host)
            if not pace.down and not self.frontier.paused(host, now):
                self._lanes[host] = asyncio.create_task(self._lane(host, pace))

    async def _next_event(self) -> None:
        """Wait for a lane to end or for work that has no lane; raise what a lane raised."""
        waiter = asyncio.create_task(self._work.wait())
        await asyncio.wait([waiter, *self._lanes.values()], return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        for host, lane in list(self._lanes.items()):
            if lane.done():
                del self._lanes[host]
                lane.result()

    async def _lane(self, host: str, pace: Pace) -> None:
        """Visit one host's URLs, several at a time only where no delay is asked for."""
        visits: set[asyncio.Task[None]] = set()
        left = TURN
        pace.in_use += 1
        try:
            while True:
                width = 1 if pace.pause > 0 else self.network.concurrency_per_host
                while len(visits) < width and left > 0 and not pace.down and (task := self._lease(host)):
                    visits.add(asyncio.create_task(self._visit(task, pace)))
                    left = left - 1 if self._waiting else TURN
                if not visits:
                    if left <= 0:
                        self._waiting.add(host)
                    return
                done, visits = await asyncio.wait(visits, return_when=asyncio.FIRST_COMPLETED)
                for visit in done:
                    visit.result()
        finally:
            pace.in_use -= 1
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    def _lease(self, host: str) -> Task | None:
        task = None if self.over else self.frontier.lease(host)
        if task and not self._shares.visit(task.source):
            self.frontier.suspend(task.source)
        return task

    async def _visit(self, task: Task, pace: Pace) -> None:
        try:
            await self._ask(task, pace)
        except OutOfTime:
            self.frontier.release(task.url)
        finally:
            self._asker.failed.pop(task.url, None)

    async def _ask(self, task: Task, pace: Pace) -> None:
        robots = await self._files.robots(task.url)
        if isinstance(robots, Failure):
            if pace.down or self.over:  # said once already, for the URL that came first
                self.frontier.release(task.url)
                return
            pace.down = True
            self._reject(task, Failure(robots.reason, f"robots.txt: {robots.detail}"))
            return
        decision = robots.decide(task.url)
        if not decision.allowed:
            self._reject(task, Failure(Reason.ROBOTS_DENIED, decision.rule), decision.rule)
            return
        source = self.sources[task.source]
        if task.depth == 0 and source.kind == "site" and source.depth > 0:  # a sitemap stands beside the entry
            beside = replace(task, depth=task.depth - 1)
            await self._admit(beside, robots.sitemap_urls(task.url)[:MAX_SITEMAPS], "sitemap")
        if robots.crawl_delay <= self.network.max_retry_after:
            pace.slow_down(robots.crawl_delay)
            await self._fetch(task, pace, decision.rule)
        elif pace.down:
            self.frontier.release(task.url)
            return
        else:
            await self._fetch_alone(task, pace, decision.rule, min(robots.crawl_delay, MAX_RETRY_AFTER))
        self.progress.advance()
        if self.frontier.fresh - self._lanes.keys():
            self._work.set()

    async def _fetch_alone(self, task: Task, pace: Pace, rule: str, delay: float) -> None:
        """Ask for one page with one request, and for the next in a run after the delay."""
        pace.down = pace.once = True
        self.frontier.postpone(task.host, time.time() + delay)
        await self._fetch(replace(task, etag=None, last_modified=None), pace, rule)  # a 304 may need a second request
        self.frontier.postpone(task.host, time.time() + delay)

    async def _fetch(self, task: Task, pace: Pace, rule: str) -> None:
        outcome = await self._asker.ask(task.url, task.source, self._wants(task), conditions(task))
        now = time.time()
        if isinstance(outcome, Response) and outcome.status == 304 and self._says_more(task, outcome):
            task = replace(task, etag=None, last_modified=None)
            outcome = await self._asker.ask(task.url, task.source, self._wants(task), {})
        lost = isinstance(outcome, Failure) and outcome.reason in HOST_DOWN
        pace.failures = pace.failures + 1 if lost else 0
        pace.down = pace.down or pace.failures >= MAX_FAILURES
        if isinstance(outcome, Failure):
            self._reject(task, outcome, rule)
        elif outcome.status == 304 and conditions(task):
            self.recorder.unchanged(task, now, task.etag, task.last_modified)
        elif outcome.status == 304:
            detail = "HTTP 304 (not modified), though nothing was said of a stored version"
            self._reject(task, Failure(Reason.BAD_RESPONSE, detail), rule, outcome.status)
        elif 300 <= outcome.status < 400:
            self._redirected(task, outcome, rule)
        elif failure := None if task.kind in ("sitemap", "feed") else judge(outcome, task.kind == "media"):
            self._reject(task, failure, rule, outcome.status)
        elif task.kind in ("sitemap", "feed"):
            await self._list(task, outcome, rule, pace)
        else:
            await self._keep(task, outcome, rule, pace)

    def _says_more(self, task: Task, response: Response) -> bool:
        """Say whether an answer without a body names rights that are not stored: then the page is asked for in full."""
        return task.rights is not None and not set(signals_of(response, None)) <= set(read_rights(task.rights))

    def _wants(self, task: Task) -> Callable[[Response], Failure | bool]:
        def wants(response: Response) -> Failure | bool:
            if task.kind in ("sitemap", "feed"):
                return response.status == 200
            if response.status not in (200, 203):
                return False
            return judge(response, task.kind == "media") or True

        return wants

    def _redirected(self, task: Task, response: Response, rule: str) -> None:
        location = response.get("location")
        target = canonical(location, task.url) if location else None
        if target is None:
            where = f"to '{location[:200]}'" if location else "without a Location"
            self._reject(task, Failure(Reason.BAD_RESPONSE, f"HTTP {response.status} {where}"), rule, response.status)
            return
        scope = host_of(target) if task.depth == 0 and task.scope == task.host else task.scope
        if self.frontier.circles(task.url, target, self.network.max_redirects):
            failure = Failure(Reason.REDIRECT_LOOP, f"{response.status} to {target}, which leads back here")
        elif task.hops >= self.network.max_redirects:
            failure = Failure(Reason.REDIRECT_LOOP, f"more than {self.network.max_redirects} redirects")
        elif task.kind != "media" and scope not in ("", host_of(target)):
            failure = Failure(Reason.OFF_SCOPE, f"{response.status} to {target}, not on {scope}")
        else:
            failure = Failure(Reason.REDIRECTED, f"{response.status} to {target}")
            self.frontier.redirect(task, target, scope)
            self.frontier.readings.hint({target: self.frontier.readings.hints_of(task.url)})
            self.frontier.readings.reserve([target], self.frontier.readings.reserved(task.url))
        self._reject(task, failure, rule, response.status)

    async def _keep(self, task: Task, response: Response, rule: str, pace: Pace) -> None:
        now = time.time()
        content_type = content_type_of(response, task.kind == "media")
        page: Page | None = None
        if content_type in HTML_TYPES:
            try:
                page = await self._reader.read(read_page, response, self.network.user_agent)
            except (Stopped, MemoryError) as error:
                self._unreadable(task, error, rule, pace)
                return
            if self.sources[task.source].kind not in ("page", "table"):
                await self._admit(task, page.links, "page")
            await self._admit(task, page.media, "media")
            self.frontier.readings.reserve(page.media, about_images(page.signals, task.url))
        signals = [*signals_of(response, page), *self.frontier.readings.reserved(task.url)]
        if self.network.ask_tdmrep:
            signals += await self._files.reservations(task.url)
        origin = replace(
            self._origin(task, rule, response.status),
            rights=write_rights(signals),
            licence=best_licence(signals),
            etag=response.get("etag") or None,
            last_modified=validator(response, now),
            hints=self.frontier.readings.hints_of(task.url),
        )
        await self.recorder.keep(task, response, content_type, origin, now)

    async def _list(self, task: Task, response: Response, rule: str, pace: Pace) -> None:
        """Queue what a sitemap or feed names; it brings links, not content, so nothing of it is stored."""
        if response.status != 200:
            failure = judge(response, media=False) or Failure(Reason.BAD_RESPONSE, f"HTTP {response.status}")
            self._reject(task, failure, rule, response.status)
            return
        try:
            if task.kind == "sitemap":
                listing = await self._reader.read(read_sitemap, response, int(self.network.max_bytes))
            else:
                listing = await self._reader.read(read_feed, response)
        except BadEncoding as error:
            self._reject(task, Failure(Reason.BAD_RESPONSE, str(error)), rule)
            return
        except (Stopped, MemoryError) as error:
            self._unreadable(task, error, rule, pace)
            return
        except TooLarge:
            self._reject(task, Failure(Reason.TOO_LARGE, f"unpacked, more than {self.network.max_bytes} bytes"), rule)
            return
        await self._admit_listing(task, listing)
        sha256 = hashlib.sha256(
            response.body
        ).hexdigest()  # by which a list that changes is told from one that does not
        now = time.time()
        self.frontier.settle(
            Settled(task.url, OK, now, None, response.get("etag") or None, validator(response, now), sha256)
        )
        self.recorder.counts["lists"] += 1

    async def _admit(self, task: Task, urls: Iterable[str], kind: Kind) -> None:
        """Record found URLs, a few at a time."""
        found = list(urls)
        for first in range(0, len(found), CHUNK):
            self.frontier.admit(task, found[first : first + CHUNK], kind)
            await asyncio.sleep(0)

    async def _admit_listing(self, task: Task, listing: Listing) -> None:
        """Queue the pages of a list, their media as found on them, and what changed since it was asked for."""
        anywhere = replace(task, scope="") if task.kind == "feed" else task
        await self._admit(task, [entry.url for entry in listing.lists], "sitemap")
        await self._admit(anywhere, listing.pages, "page")
        for entry in listing.entries:
            if entry.hints.media:
                found_on = replace(task, url=entry.url or task.url)
                await self._admit(found_on, [medium.url for medium in entry.hints.media], "media")
        self.frontier.readings.hint({url: hints.as_dict() for url, hints in listing.hints().items()})
        self.frontier.renew(task, listing.changes())

    def _unreadable(self, task: Task, error: Exception, rule: str, pace: Pace) -> None:
        """Reject what cannot be parsed within bounds; a host that sends much of it is left alone."""
        pace.stopped += 1
        pace.down = pace.down or pace.stopped >= MAX_STOPPED
        detail = str(error) or "needs too much memory"
        self._reject(task, Failure(Reason.EXTRACTOR_FAILED, f"reading its links: {detail}"), rule)

    def _reject(self, task: Task, failure: Failure, rule: str | None = None, status: int | None = None) -> None:
        self.recorder.reject(task, failure, self._origin(task, rule, status), time.time())

    def _origin(self, task: Task, rule: str | None, status: int | None = None) -> Origin:
        source_class = self.sources[task.source].source_class
        return Origin(
            task.kind, task.host, task.source, source_class, task.depth, task.referrer, task.scope, status,
            robots_rule=rule[:500] if rule else None, attempts=tuple(self._asker.failed.get(task.url, ())),
        )  # fmt: skip
