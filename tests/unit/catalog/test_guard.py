"""The guard: a call that hangs, dies or eats memory is given up; the next one works."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from catalog.guard import Guarded, Stopped
from catalog.schema import Reason
from ingest.rejected import Rejected

LIMIT = 1_500_000_000


def misbehave(how: str) -> object:
    """Do what a hostile page might make a parser do."""
    match how:
        case "hang":
            time.sleep(60)
        case "die":
            os._exit(9)
        case "eat":
            return len(bytearray(2 * LIMIT))
        case "reject":
            raise Rejected(Reason.EMPTY_TEXT, "nothing there")
    return os.getpid()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded[[str], object]]:
    guard = Guarded(misbehave, 1.0, LIMIT)
    yield guard
    guard.close()


def test_calls_share_one_child(guarded: Guarded[[str], object]) -> None:
    assert guarded("work") == guarded("work") != os.getpid()


def test_what_the_function_raises_is_raised_here(guarded: Guarded[[str], object]) -> None:
    with pytest.raises(Rejected) as caught:
        guarded("reject")
    assert (caught.value.reason, caught.value.detail) == (Reason.EMPTY_TEXT, "nothing there")


def test_memory_has_a_limit(guarded: Guarded[[str], object]) -> None:
    with pytest.raises(MemoryError):
        guarded("eat")
    assert guarded("work")


@pytest.mark.parametrize(("how", "message"), [("hang", "no result after 1 seconds"), ("die", "process died")])
def test_a_lost_call_is_given_up_and_the_next_one_works(
    guarded: Guarded[[str], object], how: str, message: str
) -> None:
    before = guarded("work")
    started = time.monotonic()
    with pytest.raises(Stopped, match=message):
        guarded(how)
    assert time.monotonic() - started < 10
    assert guarded("work") != before


def test_a_child_that_the_system_kills_in_the_midst_of_a_call_costs_that_call(
    guarded: Guarded[[str], object],
) -> None:
    victim = guarded("work")
    assert isinstance(victim, int)
    killer = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with pytest.raises(Stopped, match="process died"):
        guarded("hang")
    killer.join()
    assert guarded("work") != victim
