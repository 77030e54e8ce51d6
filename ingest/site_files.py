"""The files by which a site speaks to crawlers, asked for once in a run and a day: robots.txt and tdmrep.json."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from catalog.schema import Reason
from ingest.fetch import Failure, Outcome
from ingest.rights import Signal, site_rules, site_signals
from ingest.robots import Robots, Rule, parse_robots
from ingest.urls import canonical, origin_of

REDIRECTS = 5  # RFC 9309, 2.3.1.2
MAX_AGE = 86400.0  # RFC 9309, 2.4
MAX_ORIGINS = 20_000  # whose files are remembered; one that comes back later is asked again

T = TypeVar("T")
Ask: TypeAlias = Callable[[str], Awaitable[Outcome]]  # a URL, at its own host's pace and behind the guard → its answer


@dataclass
class _Once(Generic[T]):
    """What is found out for each origin, by one task for all who ask at the same time."""

    find: Callable[[str], Awaitable[T]]
    known: dict[str, tuple[float, asyncio.Task[T]]] = field(default_factory=dict)

    async def of(self, url: str) -> T:
        origin = origin_of(url)
        since, task = self.known.get(origin, (0.0, None))
        if task is None or time.monotonic() - since > MAX_AGE:
            task = asyncio.ensure_future(self.find(origin))
            self.known.pop(origin, None)
            self.known[origin] = time.monotonic(), task
            if len(self.known) > MAX_ORIGINS:
                del self.known[next(iter(self.known))]  # the oldest; whoever waits for it holds its task
        return await asyncio.shield(task)


class SiteFiles:
    """Answers from the well-known files of each origin."""

    def __init__(self, agent: str, ask: Ask, ask_once: Ask) -> None:
        self._agent = agent
        self._ask = ask
        self._ask_once = ask_once
        self._robots = _Once(self._find_robots)
        self._reservations = _Once(self._find_reservations)

    async def robots(self, url: str) -> Robots | Failure:
        """Return the robots.txt that speaks for a URL, or why it cannot be known (which forbids to fetch)."""
        return await self._robots.of(url)

    async def reservations(self, url: str) -> list[Signal]:
        """Return what the site's tdmrep.json says of a URL."""
        return site_signals(await self._reservations.of(url), url)

    async def _find_robots(self, origin: str) -> Robots | Failure:
        """Fetch robots.txt by RFC 9309, 2.3.1: absent means allowed, unreachable means denied."""
        url, status = f"{origin}/robots.txt", 0
        for _ in range(REDIRECTS + 1):
            outcome = await self._ask(url)
            if isinstance(outcome, Failure):
                return outcome
            status = outcome.status
            if status == 200:
                return parse_robots(outcome.body, self._agent)
            target = canonical(outcome.get("location"), url) if 300 <= status < 400 else None
            if target is None:
                break
            url = target
        if status >= 500 or status == 429:
            return Failure(Reason.ROBOTS_UNREACHABLE, f"HTTP {status}")
        return Robots(absent=f"no robots.txt (HTTP {status})")

    async def _find_reservations(self, origin: str) -> list[tuple[Rule, Signal]]:
        url = f"{origin}/.well-known/tdmrep.json"
        robots = await self.robots(url)
        if isinstance(robots, Failure) or not robots.decide(url).allowed:
            return []
        outcome = await self._ask_once(url)
        return site_rules(outcome.body, url) if not isinstance(outcome, Failure) and outcome.status == 200 else []
