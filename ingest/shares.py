"""How the sources share a run: request slots go to the source that is furthest behind, a budget is split by `share`."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager


class Shares:
    """Counts visits by source. A source whose part of the budget is used waits until others leave some of theirs."""

    def __init__(self, shares: Mapping[str, float], slots: int, budget: int | None = None) -> None:
        self._shares = dict(shares)
        self._free = slots
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._left = budget
        self._quota: dict[str, int] = {}
        self._asked: Counter[str] = Counter()
        self.visits: Counter[str] = Counter()

    @asynccontextmanager
    async def slot(self, source: str) -> AsyncIterator[None]:
        """Hold one of the slots; where they are short, the source furthest behind its share comes first."""
        if self._free > 0:
            self._free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            queue = self._waiting.setdefault(source, deque())
            queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on()
                raise
        self._asked[source] += 1
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            source = min(self._waiting, key=lambda name: self._asked[name] / self._shares.get(name, 1.0))
            queue = self._waiting[source]
            turn = queue.popleft()
            if not queue:
                del self._waiting[source]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def allot(self, waiting: Iterable[str]) -> list[str]:
        """Split what is left of the budget among the sources that have work; return those that may go on."""
        names = list(waiting)
        if self._left is None:
            return names
        whole = sum(self._shares.get(name, 1.0) for name in names)
        self._quota.clear()
        spare = self._left
        for name in names:
            self._quota[name] = int(self._left * self._shares.get(name, 1.0) / whole)
            spare -= self._quota[name]
        for name in names[:spare]:
            self._quota[name] += 1
        return [name for name in names if self._quota[name] > 0]

    @property
    def exhausted(self) -> bool:
        """Say whether the budget is used up."""
        return self._left == 0

    def visit(self, source: str) -> bool:
        """Count a visit; return False where it was the last that the source may make for now."""
        self.visits[source] += 1
        if self._left is None:
            return True
        self._left -= 1
        self._quota[source] = self._quota.get(source, 0) - 1
        return self._quota[source] > 0
