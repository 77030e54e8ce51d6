"""Parsing what the web sent during a crawl, where it can be stopped.

HTML and XML exist whose parsing takes hours (nesting alone makes it quadratic), and a thread cannot be killed. What is
small costs a fraction of a second at worst and is parsed in a thread; the rest in a child process, one at a time.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from catalog.guard import Guarded
from ingest.fetch import Response
from ingest.sources import GZIP_MAGIC

P = ParamSpec("P")
T = TypeVar("T")
SMALL_BYTES = 64 << 10
MAX_MEMORY = 3_000_000_000  # of the child's address space


def _apply(function: Callable[..., Any], response: Response, *args: Any, **named: Any) -> Any:
    return function(response, *args, **named)


def _is_small(response: Response) -> bool:
    """Say whether a body costs little at worst; what a packed one unpacks to is not known."""
    return len(response.body) <= SMALL_BYTES and not response.body.startswith(GZIP_MAGIC)


class Reader:
    """Applies module-level parsers to responses."""

    def __init__(self, max_seconds: float) -> None:
        self._guarded = Guarded(_apply, max_seconds, MAX_MEMORY)
        self._turn = asyncio.Lock()

    async def read(
        self, function: Callable[Concatenate[Response, P], T], response: Response, *args: P.args, **named: P.kwargs
    ) -> T:
        """Return what `function` makes of a response; raise what it raises, MemoryError, or Stopped at the limits."""
        if _is_small(response):
            return await asyncio.to_thread(function, response, *args, **named)
        async with self._turn:
            result: T = await asyncio.to_thread(self._guarded, function, response, *args, **named)
        return result

    def read_here(
        self, function: Callable[Concatenate[Response, P], T], response: Response, *args: P.args, **named: P.kwargs
    ) -> T:
        """Do the same in the thread of the caller."""
        if _is_small(response):
            return function(response, *args, **named)
        result: T = self._guarded(function, response, *args, **named)
        return result

    def close(self) -> None:
        """End the child process, if there is one."""
        self._guarded.close()
