"""How fast one host is asked: a token bucket that holds one token, refilled after the delay, which strain raises."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

LEAST_STRAIN = 0.05  # seconds of raised delay under which a host counts as recovered


class OutOfTime(Exception):
    """The host may not be asked before the run ends."""


@dataclass
class Pace:
    """One host during a run: when it may be asked next, and whether it is asked at all.

    The delay runs from the end of a request. A refusal, an error of the server or a slow answer doubles the strain (at
    first to `strain_step`, at most to `max_delay`), a good answer halves it; the larger of delay and strain holds.
    """

    delay: float
    strain_step: float = 1.0
    max_delay: float = 60.0
    deadline: float = float("inf")  # of the run, on the monotonic clock
    strain: float = 0.0
    next_request: float = 0.0
    failures: int = 0  # in a row
    down: bool = False  # left alone for the rest of the run
    once: bool = False  # asks for so long a delay that one run asks for one page
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    in_use: int = 0  # lanes that visit the host, requests that wait or are under way
    stopped: int = 0  # answers whose parsing had to be given up

    @property
    def pause(self) -> float:
        """How long the host rests between two requests."""
        return max(self.delay, self.strain)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until the host may be asked, and keep others from it; raise OutOfTime if that is after the deadline."""
        self.in_use += 1
        try:
            async with self.lock if self.pause > 0 else nullcontext():
                while (wait := self.next_request - time.monotonic()) > 0:
                    if self.next_request >= self.deadline:
                        raise OutOfTime
                    await asyncio.sleep(wait)
                try:
                    yield
                finally:
                    self.hold(self.pause)
        finally:
            self.in_use -= 1

    def slow_down(self, delay: float) -> None:
        """Obey a longer delay from now on."""
        if delay > self.delay:
            self.delay = delay
            self.hold(delay)

    def hold(self, seconds: float) -> None:
        """Leave the host alone for so long from now, if not longer already."""
        if seconds > 0:
            self.next_request = max(self.next_request, time.monotonic() + seconds)

    def judge(self, strained: bool) -> None:
        """Slow down after a sign of strain, recover step by step after a good answer."""
        if strained:
            self.strain = min(max(self.strain * 2, self.strain_step), self.max_delay)
        else:
            self.strain = self.strain / 2 if self.strain > 2 * LEAST_STRAIN else 0.0
