"""Sending requests at each host's pace: waiting for its turn and a slot, trying again what may succeed later."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from catalog.schema import Reason
from ingest.fetch import Fetcher, Outcome, Response, Wants
from ingest.pace import Pace
from ingest.settings import NetworkSettings
from ingest.shares import Shares
from ingest.urls import host_of
from ingest.validators import retry_after

MAX_PACES = 20_000  # hosts whose pace is remembered
MAX_RETRY_AFTER = 86400.0  # a server that asks for ten years is asked again tomorrow
STRAINED = (429, 502, 503, 504)


class Asker:
    """Knows the pace of every host of this run; `postpone` leaves a host alone until a time, in later runs too."""

    def __init__(
        self,
        network: NetworkSettings,
        fetcher: Fetcher,
        shares: Shares,
        deadline: float,
        postpone: Callable[[str, float], None],
    ) -> None:
        self._network = network
        self._fetcher = fetcher
        self._shares = shares
        self._deadline = deadline
        self._postpone = postpone
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
                    self._postpone(host_of(url), time.time() + min(asked, MAX_RETRY_AFTER))
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


def _is_strained(outcome: Outcome) -> bool:
    return outcome.status in STRAINED if isinstance(outcome, Response) else outcome.reason is Reason.TIMEOUT


def _described(outcome: Outcome) -> str:
    what = f"HTTP {outcome.status}" if isinstance(outcome, Response) else f"{outcome.reason}: {outcome.detail}"
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {what}"
