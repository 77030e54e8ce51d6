"""A bound on the memory of all response bodies that are held at once."""

import asyncio
import threading
import weakref
from types import TracebackType

POLL_SECONDS = 0.01  # only while there is no room


class Budget:
    """Bytes held by bodies that are being read, and by finished responses until the last reference to them is gone.

    A body grows while the total stays within the limit. Where there is no room, the oldest unfinished body alone goes
    on, once every finished response is gone; so none waits for ever, and the limit is passed by one body at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()  # a response may be dropped by any thread
        self._kept = 0  # by finished responses
        self._reading: dict[Claim, None] = {}  # oldest first

    @property
    def held(self) -> int:
        """Return how many bytes are held now."""
        return self._kept + sum(claim.size for claim in self._reading)

    def has_room(self, claim: "Claim", size: int) -> bool:
        """Say whether a body may grow by `size` now."""
        return self.held + size <= self._limit or (not self._kept and next(iter(self._reading)) is claim)

    def start(self, claim: "Claim") -> None:
        """Take a body that is about to be read into account."""
        self._reading[claim] = None

    def end(self, claim: "Claim") -> None:
        """Forget a body that is not read any more."""
        del self._reading[claim]

    def keep(self, owner: object, size: int) -> None:
        """Count `size` bytes until `owner` is gone."""
        with self._lock:
            self._kept += size
        weakref.finalize(owner, self._give, size).atexit = False

    def _give(self, size: int) -> None:
        with self._lock:
            self._kept -= size


class Claim:
    """What one body that is being read holds; a context manager."""

    def __init__(self, budget: Budget) -> None:
        self.size = 0
        self._budget = budget

    def __enter__(self) -> "Claim":
        self._budget.start(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.end(self)

    def take(self, size: int) -> bool:
        """Hold `size` bytes more if there is room, and say whether there was."""
        if not self._budget.has_room(self, size):
            return False
        self.size += size
        return True

    async def wait(self, size: int, patience: float) -> float:
        """Hold `size` bytes more as soon as there is room; return the seconds waited, or raise TimeoutError."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not self.take(size):
            if loop.time() - started > patience:
                raise TimeoutError(f"no room for its body within {patience:g} s (network.max_memory)")
            await asyncio.sleep(POLL_SECONDS)
        return loop.time() - started
