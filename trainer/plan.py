"""The mix plan of a round: which rows are trained on, in which order; new ones once an epoch, older ones replayed.

Where shares are asked for, new rows are repeated or left out to meet them, and older ones are drawn in the same shares.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import pyarrow as pa

from catalog.ids import make_id
from trainer.balance import Balance
from trainer.settings import BalanceArgs, ReplayArgs

REPLAY = "replay"
AS_THEY_ARE = Balance(BalanceArgs(), {})
PLAN = pa.schema([("epoch", pa.int64()), ("row_id", pa.string()), ("kind", pa.string())])


def make_plan(
    fresh: Mapping[str, Iterable[str]],
    older: Iterable[str],
    replay: ReplayArgs,
    epochs: int,
    seed: str,
    balance: Balance = AS_THEY_ARE,
) -> pa.Table:
    """Order every fresh row (ids by kind) once per epoch among replayed older rows, drawn anew for each epoch.

    Under a balance, rows are drawn as often as their share asks.

    The order is that of hashes of (seed, epoch, row), independent of the order given and of any library's generator;
    replayed rows are spread evenly behind new ones, so a round that a step cap ends early has kept the mix.
    """
    kinds = {row: kind for kind, rows in fresh.items() for row in rows}
    pool = set(older) - kinds.keys()
    rounds = shuffled(kinds, seed, "rounds")
    rows = []
    for epoch in range(epochs):
        new = balance.draw(rounds, epoch)
        count = num_replayed(len(new), len(pool), replay)
        drawn = balance.take(shuffled(pool, seed, "draw", str(epoch)), count)
        order = spread(shuffled(new, seed, "order", str(epoch)), shuffled(drawn, seed, "order", str(epoch)))
        rows += [{"epoch": epoch, "row_id": row, "kind": kinds.get(row, REPLAY)} for row in order]
    return pa.Table.from_pylist(rows, schema=PLAN)


def num_replayed(num_fresh: int, num_older: int, replay: ReplayArgs) -> int:
    """Return how many older rows an epoch replays: the share asked for, but at least the minimum, if there are any."""
    if num_fresh == 0 or replay.fraction == 0:
        return 0
    return min(num_older, max(replay.minimum, math.ceil(num_fresh * replay.fraction)))


def spread(fresh: list[str], replayed: list[str]) -> list[str]:
    """Merge two orders so that every beginning holds both in proportion, a fresh row first."""
    places = [(index / len(fresh), 0, row) for index, row in enumerate(fresh)]
    places += [((index + 0.5) / len(replayed), 1, row) for index, row in enumerate(replayed)]
    return [row for _, _, row in sorted(places)]


def shuffled(rows: Iterable[str], *seed: str) -> list[str]:
    """Return rows in the order of their hash under a seed; each copy of a row has a place of its own."""
    copies: Counter[str] = Counter()
    keys = []
    for row in rows:
        copy = [str(copies[row])] if copies[row] else []
        keys.append((make_id("shuffle", *seed, row, *copy), row))
        copies[row] += 1
    return [row for _, row in sorted(keys)]
