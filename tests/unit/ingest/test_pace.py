"""Pace: a host under strain is asked ever more slowly, one that recovers faster again, and none after the deadline."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.pace import OutOfTime, Pace


def test_strain_doubles_up_to_its_bound_and_good_answers_take_it_back() -> None:
    pace = Pace(delay=1.0, strain_step=2.0, max_delay=10.0)
    seen = []
    for _ in range(4):
        pace.judge(strained=True)
        seen.append(pace.pause)
    assert seen == [2.0, 4.0, 8.0, 10.0]
    for _ in range(8):
        pace.judge(strained=False)
    assert (pace.strain, pace.pause) == (0.0, 1.0)


@given(st.lists(st.booleans(), max_size=50))
def test_a_host_never_waits_less_than_its_delay_nor_more_than_the_bound(answers: list[bool]) -> None:
    pace = Pace(delay=0.5, strain_step=1.0, max_delay=20.0)
    for strained in answers:
        pace.judge(strained)
        assert 0.5 <= pace.pause <= 20.0


def test_turns_keep_their_distance_and_a_longer_hold_is_kept() -> None:
    async def main() -> list[float]:
        pace = Pace(delay=0.03)
        times = []
        for hold in (0.0, 0.1, 0.0):
            async with pace.turn():
                times.append(time.monotonic())
            pace.hold(hold)
        return times

    first, second, third = asyncio.run(main())
    assert second - first >= 0.03
    assert third - second >= 0.1


def test_what_would_come_after_the_deadline_is_not_waited_for() -> None:
    async def main() -> None:
        pace = Pace(delay=5.0, deadline=time.monotonic() + 1.0)
        async with pace.turn():
            pass
        started = time.monotonic()
        with pytest.raises(OutOfTime):
            async with pace.turn():
                pass
        assert time.monotonic() - started < 0.5

    asyncio.run(main())
