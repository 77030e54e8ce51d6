"""Sending requests at each host's pace: waiting for its turn and a slot, trying again what may succeed later."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from catalog.schema import Reason
from ingest.fetch import Failure, Fetcher, Outcome, Response, Wants
from ingest.pace import OutOfTime, Pace
from ingest.settings import NetworkSettings
from ingest.shares import Shares
from ingest.urls import host_of
from ingest.validators import retry_after

MAX_PACES = 20_000  # hosts whose pace is remembered
MAX_RETRY_AFTER = 86400.0  # a server that asks for ten years is asked again tomorrow
STRAINED = (429, 502, 503, 504)


class Pauses(Protocol):
    """What remembers, beyond this run, which hosts are to be left alone."""

    def postpone(self, host: str, until: float) -> None:
        """Leave a host alone until a time."""

    def paused(self, host: str, now: float) -> bool:
        """Say whether a host is to be left alone."""


class Asker:
    """Knows the pace of every host of this run."""

    def __init__(
        self,
        network: NetworkSettings,
        fetcher: Fetcher,
        shares: Shares,
        deadline: float,
        pauses: Pauses,
    ) -> None:
        self._network = network
        self._fetcher = fetcher
        self._shares = shares
        self._deadline = deadline
        self._pauses = pauses
        self._paces: dict[str, Pace] = {}
        self.failed: dict[str, list[str]] = {}  # attempts that brought nothing, by the URL in flight

    def pace(self, host: str) -> Pace:
        """Return the pace of a host, the same one for all who ask."""
        if host not in self._paces:
            if len(self._paces) >= MAX_PACES:
                self._forget()
            network = self._network
            self._paces[host] = Pace(network.delay, network.retry_delay, network.max_delay, self._deadline)
        return self._paces[host]

    def _forget(self) -> None:
        """Drop hosts of which nothing is asked and that may be asked at once again."""
        now = time.monotonic()
        for host, pace in list(self._paces.items()):
            if not (
                pace.in_use or pace.down or pace.strain or pace.failures or pace.stopped or pace.next_request > now
            ):
                del self._paces[host]

    async def ask_once(self, url: str, source: str, wants: Wants, headers: Mapping[str, str] | None = None) -> Outcome:
        """Send one GET at the host's pace, for one of the sources; raise OutOfTime."""
        pace = self.pace(host_of(url))
        async with pace.turn(), self._shares.slot(source):
            started = time.monotonic()
            outcome = await self._fetcher.get(url, wants, headers)
            pace.judge(_is_strained(outcome) or time.monotonic() - started > self._network.slow_response)
        return outcome

    async def ask(self, url: str, source: str, wants: Wants, headers: Mapping[str, str] | None = None) -> Outcome:
        """Send a GET; try again, with growing pauses, what may succeed later; raise OutOfTime."""
        pace = self.pace(host_of(url))
        for attempt in range(self._network.retries + 1):
            outcome = await self.ask_once(url, source, wants, headers)
            wait = self._network.retry_delay * 2**attempt
            if isinstance(outcome, Response):
                refused = outcome.status == 429 or outcome.status >= 500
                asked = retry_after(outcome) if refused else 0.0
                if asked > self._network.max_retry_after:
                    self._pauses.postpone(host_of(url), time.time() + min(asked, MAX_RETRY_AFTER))
                    pace.down = True
                    return outcome
                wait = max(wait, asked)
                if not refused:
                    return outcome
            elif not outcome.again:
                return outcome
            if pace.once:
                return outcome
            if attempt < self._network.retries:
                self.failed.setdefault(url, []).append(_described(outcome))
                pace.hold(wait)
        return outcome

    async def site_file(self, url: str) -> Outcome:
        """Ask for a file by which a site speaks to crawlers, at the pace of the host that it turns out to lie on."""
        host = host_of(url)
        if self.pace(host).down or self._pauses.paused(host, time.time()):
            return Failure(Reason.UNREACHABLE, f"{host} is left alone for now")
        try:
            return await self.ask(url, "", _is_there)
        except OutOfTime:
            return Failure(Reason.TIMEOUT, "the run's time is over")
        finally:
            self.failed.pop(url, None)

    async def site_file_once(self, url: str) -> Outcome:
        """Ask for a file that a site need not have: a fault is as good as its absence."""
        if self.pace(host_of(url)).once:
            return Failure(Reason.UNREACHABLE, "its host is asked for one page in a run")
        return await self.ask_once(url, "", _is_there)


def _is_there(response: Response) -> bool:
    return response.status == 200


def _is_strained(outcome: Outcome) -> bool:
    return outcome.status in STRAINED if isinstance(outcome, Response) else outcome.reason is Reason.TIMEOUT


def _described(outcome: Outcome) -> str:
    what = f"HTTP {outcome.status}" if isinstance(outcome, Response) else f"{outcome.reason}: {outcome.detail}"
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {what}"
