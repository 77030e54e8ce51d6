"""Shares: scarce slots and a limited budget go to the sources by their share."""

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ingest.shares import Shares


def test_scarce_slots_go_to_the_sources_by_share() -> None:
    async def main() -> Counter[str]:
        shares = Shares({"a": 3.0, "b": 1.0}, slots=2)
        order: list[str] = []

        async def ask(source: str) -> None:
            async with shares.slot(source):
                order.append(source)
                await asyncio.sleep(0)

        await asyncio.gather(*(ask(source) for source in "ab" * 60))
        return Counter(order[:60])

    served = asyncio.run(main())
    assert 42 <= served["a"] <= 48  # three in four


def test_a_slot_that_nobody_waits_for_any_more_is_not_lost() -> None:
    async def main() -> None:
        shares = Shares({}, slots=1)
        async with shares.slot("a"):
            waiting = [asyncio.create_task(_hold(shares)) for _ in range(3)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(1), shares.slot("a"):
            pass

    asyncio.run(main())


async def _hold(shares: Shares) -> None:
    async with shares.slot("b"):
        pass


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1), st.integers(1, 200))
def test_the_whole_budget_is_split_and_nobody_gets_more_than_one_over_the_share(
    shares: dict[str, int], budget: int
) -> None:
    split = Shares({name: float(share) for name, share in shares.items()}, 1, budget)
    allowed = split.allot(sorted(shares))
    visits: Counter[str] = Counter()
    for name in allowed:
        while True:
            visits[name] += 1
            if not split.visit(name):
                break
    assert visits.total() == budget
    assert split.exhausted
    for name, share in shares.items():
        assert abs(visits[name] - budget * share / sum(shares.values())) <= 1


def test_without_a_budget_nothing_is_held_back() -> None:
    shares = Shares({"a": 1.0}, slots=1)
    assert all(shares.visit("a") for _ in range(100))
    assert not shares.exhausted
    assert shares.allot(["a", "b"]) == ["a", "b"]
