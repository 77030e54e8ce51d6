"""Which shares classes or sources get of what a round trains on: some rows are repeated, others left out (R11)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trainer.settings import BalanceArgs

UNKNOWN = "unknown"  # what a row without a value counts as
EPSILON = 1e-6  # of rounding in divisions


@dataclass(frozen=True)
class Balance:
    """The shares asked for, and the value by which each row counts; rows are not balanced where `args.by` is null."""

    args: BalanceArgs
    values: Mapping[str, str]

    def groups(self, rows: Iterable[str]) -> dict[str, list[str]]:
        """Group rows by value."""
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(self.values.get(row) or UNKNOWN, []).append(row)
        return found

    def draw(self, rows: Sequence[str], epoch: int) -> list[str]:
        """Return the rows of one epoch, some of them several times, as they come: each group goes round its rows.

        Shares are within one row of their targets. No row is left out unless another would have to be repeated more
        than `max_repeats` times an epoch; those left out come first in the next.
        """
        if self.args.by is None:
            return list(rows)
        groups = self.groups(rows)
        counts = planned({value: len(group) for value, group in groups.items()}, self.args)
        return [
            group[(epoch * counts[value] + index) % len(group)]
            for value, group in sorted(groups.items())
            for index in range(counts[value])
        ]

    def take(self, rows: Sequence[str], number: int) -> list[str]:
        """Return `number` of the rows, none twice, in the shares asked for as far as they go."""
        if self.args.by is None:
            return list(rows[:number])
        groups = self.groups(rows)
        sizes = {value: len(group) for value, group in groups.items()}
        counts = apportion(number, targets(sizes, self.args), sizes)
        return [row for value, group in sorted(groups.items()) for row in group[: counts[value]]]


def targets(sizes: Mapping[str, int], args: BalanceArgs) -> dict[str, float]:
    """Return the share of each value: those that are given, and of the rest in proportion to size ** (1 / temperature).

    Temperature: arXiv 1910.10683, section 3.5.2. The share of a value that has no rows goes to the others.
    """
    present = {value: number for value, number in sizes.items() if number}
    weights = {value: number ** (1 / args.temperature) for value, number in present.items() if value not in args.shares}
    left = 1 - sum(share for value, share in args.shares.items() if value in present) if weights else 0.0
    shares = {value: args.shares[value] for value in present if value in args.shares}
    shares |= {value: left * weight / sum(weights.values()) for value, weight in weights.items()}
    total = sum(shares.values())
    return {value: share / total for value, share in shares.items()} if total else {}


def planned(sizes: Mapping[str, int], args: BalanceArgs) -> dict[str, int]:
    """Return how many rows of each value an epoch takes."""
    shares = {value: share for value, share in targets(sizes, args).items() if share > 0}
    if not shares:
        return dict.fromkeys(sizes, 0)
    every_row = math.ceil(max(sizes[value] / share for value, share in shares.items()) - EPSILON)
    limit = math.floor(min(args.max_repeats * sizes[value] / share for value, share in shares.items()) + EPSILON)
    return dict.fromkeys(sizes, 0) | apportion(max(1, min(every_row, limit)), shares)


def apportion(number: int, shares: Mapping[str, float], limits: Mapping[str, int] | None = None) -> dict[str, int]:
    """Share out a number by largest remainders; what a limit leaves over goes to the others in their shares."""
    open_ = {value: share for value, share in shares.items() if share > 0}
    limits = limits or dict.fromkeys(open_, number)
    counts = dict.fromkeys(shares, 0)
    left = min(number, sum(limits[value] for value in open_))
    while True:
        exact = {value: left * share / sum(open_.values()) for value, share in open_.items()}
        full = [value for value in open_ if exact[value] > limits[value]]
        if not full:
            break
        for value in full:
            counts[value] = limits[value]
            left -= limits[value]
            del open_[value]
    counts |= {value: math.floor(due) for value, due in exact.items()}
    spare = left - sum(counts[value] for value in open_)
    for value in sorted(open_, key=lambda value: (math.floor(exact[value]) - exact[value], value))[:spare]:
        counts[value] += 1
    return counts
