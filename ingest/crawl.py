"""Visiting web sources: hosts side by side, each at its own pace, robots.txt asked before anything else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from email.utils import mktime_tz, parsedate_tz

from catalog.progress import Bar
from catalog.schema import Reason
from ingest.fetch import BadEncoding, Failure, Fetcher, Outcome, Response, TooLarge
from ingest.frontier import OK, Frontier, Kind, Settled, Task
from ingest.links import HTML_TYPES, Page, licence_of, read_page, rights_of
from ingest.recorder import Recorder
from ingest.robots import Robots, parse_robots
from ingest.segments import Origin
from ingest.settings import NetworkSettings, Source
from ingest.sources import content_type_of, judge, read_feed, read_sitemap
from ingest.urls import canonical, host_of, origin_of

MAX_LANES = 500  # hosts visited side by side
ROBOTS_REDIRECTS = 5  # RFC 9309, 2.3.1.2
MAX_RETRY_AFTER = 86400.0  # a server that asks for ten years is asked again tomorrow
FRESH_SECONDS = 2.0  # a Last-Modified this close to the fetch may hide a later change (RFC 9110, 8.8.2.2)
HOST_DOWN = (Reason.UNREACHABLE, Reason.TIMEOUT)
MAX_FAILURES = 5  # in a row, after which a host is left alone until the next run


@dataclass
class Lane:
    """One host during a run: when it may be asked next, and what its robots.txt files say (one for each scheme)."""

    delay: float
    next_request: float = 0.0
    failures: int = 0  # in a row
    down: bool = False  # left alone for the rest of the run
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    robots: dict[str, asyncio.Task[Robots | Failure]] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the host may be asked, and keep others from it: its delay runs from the end of a request."""
        async with self.lock if self.delay > 0 else nullcontext():
            await asyncio.sleep(max(0.0, self.next_request - time.monotonic()))
            try:
                yield
            finally:
                self.next_request = max(self.next_request, time.monotonic() + self.delay)


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
        self._slots = asyncio.Semaphore(self.network.concurrency)
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._paces: dict[str, Lane] = {}
        self._work = asyncio.Event()  # set when a visit may have brought work for other hosts

    def seed(self) -> None:
        """Queue every web source's entry."""
        kinds: dict[str, Kind] = {"site": "page", "page": "page", "sitemap": "sitemap", "feed": "feed"}
        for source in self.sources.values():
            if source.kind in kinds:
                url = canonical(source.url)
                assert url is not None, "settings accept no other"
                self.frontier.seed(source, url, kinds[source.kind], host_of(url))

    async def run(self) -> None:
        """Visit everything that is due, host by host, until nothing is left."""
        waiting = self.frontier.hosts(time.time())
        try:
            while True:
                self._work.clear()
                waiting |= self.frontier.fresh
                self.frontier.fresh.clear()
                for host in sorted(waiting - self._lanes.keys())[: MAX_LANES - len(self._lanes)]:
                    waiting.discard(host)
                    pace = self._paces.setdefault(host, Lane(self.network.delay))
                    if not pace.down and not self.frontier.paused(host, time.time()):
                        self._lanes[host] = asyncio.create_task(self._lane(host, pace))
                if not self._lanes:
                    return
                await self._next_event()
        finally:
            for lane in self._lanes.values():
                lane.cancel()
            await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _next_event(self) -> None:
        """Wait for a lane to end or for work that has no lane; raise what a lane raised."""
        waiter = asyncio.create_task(self._work.wait())
        await asyncio.wait([waiter, *self._lanes.values()], return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        for host, lane in list(self._lanes.items()):
            if lane.done():
                del self._lanes[host]
                lane.result()

    async def _lane(self, host: str, pace: Lane) -> None:
        """Visit one host's URLs, several at a time only where no delay is asked for."""
        visits: set[asyncio.Task[None]] = set()
        try:
            while True:
                width = 1 if pace.delay > 0 else self.network.concurrency_per_host
                while len(visits) < width and not pace.down and (task := self.frontier.lease(host)):
                    visits.add(asyncio.create_task(self._visit(task, pace)))
                if not visits:
                    return
                done, visits = await asyncio.wait(visits, return_when=asyncio.FIRST_COMPLETED)
                for visit in done:
                    visit.result()
        finally:
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    async def _visit(self, task: Task, pace: Lane) -> None:
        robots = await self._robots(task.url, pace)
        if isinstance(robots, Failure):
            if pace.down:  # said once already, for the URL that came first
                self.frontier.release(task.url)
                return
            pace.down = True
            self._reject(task, Failure(robots.reason, f"robots.txt: {robots.detail}"))
            return
        decision = robots.decide(task.url)
        if not decision.allowed:
            self._reject(task, Failure(Reason.ROBOTS_DENIED, decision.rule), decision.rule)
            return
        if robots.crawl_delay > self.network.max_retry_after:  # one page now, the next in a later run
            if pace.down:
                self.frontier.release(task.url)
                return
            pace.down = True
            self.frontier.postpone(task.host, time.time() + min(robots.crawl_delay, MAX_RETRY_AFTER))
        await self._fetch(task, pace, decision.rule)
        self.progress.advance()
        if self.frontier.fresh - self._lanes.keys():
            self._work.set()

    async def _fetch(self, task: Task, pace: Lane, rule: str) -> None:
        outcome = await self._patiently(task.url, pace, self._wants(task), _conditions(task))
        now = time.time()
        lost = isinstance(outcome, Failure) and outcome.reason in HOST_DOWN
        pace.failures = pace.failures + 1 if lost else 0
        pace.down = pace.down or pace.failures >= MAX_FAILURES
        if isinstance(outcome, Failure):
            self._reject(task, outcome, rule)
        elif outcome.status == 304 and _conditions(task):
            self.recorder.unchanged(task, now, task.etag, task.last_modified)
        elif 300 <= outcome.status < 400:
            self._redirected(task, outcome, rule)
        elif failure := None if task.kind in ("sitemap", "feed") else judge(outcome, task.kind == "media"):
            self._reject(task, failure, rule, outcome.status)
        elif task.kind in ("sitemap", "feed"):
            await self._list(task, outcome, rule)
        else:
            await self._keep(task, outcome, rule, now)

    async def _patiently(
        self, url: str, pace: Lane, wants: Callable[[Response], Failure | bool], headers: dict[str, str]
    ) -> Outcome:
        """Send a request at the host's pace; try again, with growing pauses, what may succeed later."""
        for attempt in range(self.network.retries + 1):
            async with pace.turn(), self._slots:
                outcome = await self.fetcher.get(url, wants, headers)
            wait = self.network.retry_delay * 2**attempt
            if isinstance(outcome, Response):
                refused = outcome.status == 429 or outcome.status >= 500
                asked = _retry_after(outcome) if refused else 0.0
                if asked > self.network.max_retry_after:
                    self.frontier.postpone(host_of(url), time.time() + min(asked, MAX_RETRY_AFTER))
                    pace.down = True
                    return outcome
                wait = max(wait, asked)
                if not refused:
                    return outcome
            elif not outcome.again:
                return outcome
            if attempt < self.network.retries:
                pace.next_request = max(pace.next_request, time.monotonic() + wait)
        return outcome

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
            self._reject(task, Failure(Reason.BAD_RESPONSE, f"HTTP {response.status} to '{location[:200]}'"), rule)
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
        self._reject(task, failure, rule, response.status)

    async def _keep(self, task: Task, response: Response, rule: str, now: float) -> None:
        content_type = content_type_of(response, task.kind == "media")
        page: Page | None = None
        if content_type in HTML_TYPES:
            page = await asyncio.to_thread(read_page, response)
            if self.sources[task.source].kind != "page":
                self.frontier.admit(task, page.links, "page")
            self.frontier.admit(task, page.media, "media")
        origin = replace(
            self._origin(task, rule, response.status),
            rights=rights_of(response, page),
            licence=licence_of(response, page),
            etag=response.get("etag") or None,
            last_modified=_validator(response, now),
        )
        await self.recorder.keep(task, response, content_type, origin, now)

    async def _list(self, task: Task, response: Response, rule: str) -> None:
        """Queue what a sitemap or feed names; it brings links, not content, so nothing of it is stored."""
        if response.status != 200:
            failure = judge(response, media=False) or Failure(Reason.BAD_RESPONSE, f"HTTP {response.status}")
            self._reject(task, failure, rule, response.status)
            return
        try:
            if task.kind == "sitemap":
                listing = await asyncio.to_thread(read_sitemap, response, self.network.max_bytes)
            else:
                listing = await asyncio.to_thread(read_feed, response)
        except BadEncoding as error:
            self._reject(task, Failure(Reason.BAD_RESPONSE, str(error)), rule)
            return
        except TooLarge:
            self._reject(task, Failure(Reason.TOO_LARGE, f"unpacked, more than {self.network.max_bytes} bytes"), rule)
            return
        anywhere = replace(task, scope="") if task.kind == "feed" else task
        self.frontier.admit(task, listing.sitemaps, "sitemap")
        self.frontier.admit(anywhere, listing.pages, "page")
        self.frontier.admit(task, listing.media, "media")
        self.frontier.settle(
            Settled(task.url, OK, time.time(), None, response.get("etag") or None, _validator(response, time.time()))
        )
        self.recorder.counts["lists"] += 1

    def _reject(self, task: Task, failure: Failure, rule: str | None = None, status: int | None = None) -> None:
        self.recorder.reject(task, failure, self._origin(task, rule, status), time.time())

    def _origin(self, task: Task, rule: str | None, status: int | None = None) -> Origin:
        source_class = self.sources[task.source].source_class
        return Origin(
            task.kind, task.host, task.source, source_class, task.depth, task.referrer, task.scope, status,
            robots_rule=rule[:500] if rule else None,
        )  # fmt: skip

    async def _robots(self, url: str, pace: Lane) -> Robots | Failure:
        """Return the rules of a URL's origin, asked once in a run."""
        origin = origin_of(url)
        if origin not in pace.robots:
            pace.robots[origin] = asyncio.create_task(self._ask_robots(f"{origin}/robots.txt", pace))
        return await asyncio.shield(pace.robots[origin])

    async def _ask_robots(self, url: str, pace: Lane) -> Robots | Failure:
        """Fetch robots.txt by RFC 9309, 2.3.1: absent means allowed, unreachable means denied."""
        status = 0
        for _ in range(ROBOTS_REDIRECTS + 1):
            outcome = await self._patiently(url, pace, lambda response: response.status == 200, {})
            if isinstance(outcome, Failure):
                return outcome
            status = outcome.status
            if status == 200:
                robots = parse_robots(outcome.body, self.network.user_agent)
                if robots.crawl_delay <= self.network.max_retry_after:
                    pace.delay = max(pace.delay, robots.crawl_delay)
                pace.next_request = max(pace.next_request, time.monotonic() + pace.delay if pace.delay else 0.0)
                return robots
            target = canonical(outcome.get("location"), url) if 300 <= status < 400 else None
            if target is None:
                break
            url = target
        if status >= 500 or status == 429:
            return Failure(Reason.ROBOTS_UNREACHABLE, f"HTTP {status}")
        return Robots(absent=f"no robots.txt (HTTP {status})")


def _conditions(task: Task) -> dict[str, str]:
    headers = {}
    if task.etag:
        headers["If-None-Match"] = task.etag
    if task.last_modified:
        headers["If-Modified-Since"] = task.last_modified
    return headers


def _validator(response: Response, now: float) -> str | None:
    """Return Last-Modified where it is old enough to tell a later version from this one."""
    value = response.get("last-modified")
    date = _date(value)
    return value if date is not None and now - date > FRESH_SECONDS else None


def _retry_after(response: Response) -> float:
    """Return Retry-After in seconds, 0 where it is absent or no number or date."""
    value = response.get("retry-after").strip()
    if value.isdecimal():
        return float(value)
    date = _date(value)
    return max(date - time.time(), 0.0) if date is not None else 0.0


def _date(value: str) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None where it is none."""
    parsed = parsedate_tz(value) if value else None
    try:
        return float(mktime_tz(parsed)) if parsed else None
    except (ValueError, OverflowError):  # a year that no calendar has
        return None
