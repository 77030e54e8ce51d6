"""Decoding what strangers sent: in child processes, where it can be killed and does not hold this one's lock."""

import queue
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from catalog.errors import WorkerLost
from catalog.guard import Guarded, NotStarted, OutOfTime, Stopped
from catalog.schema import Reason
from multimodal.decode import Reject

P = ParamSpec("P")
T = TypeVar("T")
# Of a child's address space, half of which its libraries map; decoding itself has at most the other half.
MAX_MEMORY = 1 << 30
ATTEMPTS = 2  # a child may die of what another process does: the machine out of memory


class Sandbox(Generic[P, T]):
    """Calls a picklable function of one file in one of `size` children; safe to call from as many threads.

    A file that runs out of time (seconds) or memory (bytes of address space), or kills its child twice, is a Reject
    and costs no other. Raises what the function raises, and WorkerLost where no child can be started.
    """

    def __init__(self, function: Callable[P, T], size: int, max_seconds: float, max_memory: int = MAX_MEMORY) -> None:
        self._idle: queue.LifoQueue[Guarded[P, T]] = queue.LifoQueue()  # the last one first: few files, few children
        for _ in range(size):
            self._idle.put(Guarded(function, max_seconds, max_memory))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T | Reject:
        child = self._idle.get()
        try:
            return _attempt(child, *args, **kwargs)
        finally:
            self._idle.put(child)


def _attempt(child: Guarded[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Reject:
    died = ""
    for _ in range(ATTEMPTS):
        try:
            return child(*args, **kwargs)
        except MemoryError:
            return Reject(Reason.DECODE_ERROR, "decoding needs more memory than it may use")
        except OutOfTime as error:
            return Reject(Reason.TIMEOUT, f"decoding gave {error}")
        except NotStarted as error:
            raise WorkerLost(f"decoding: {error}; is there memory left on this machine?") from error
        except Stopped as error:
            died = str(error)
    return Reject(Reason.DECODE_ERROR, f"decoding was given up: {died}")
