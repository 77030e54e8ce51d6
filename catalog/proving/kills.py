"""Drivers killed by SIGKILL all along the publishing chain, alone or racing: what running again loses or doubles."""

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import catalog
from catalog.home import Home
from catalog.proving import drivers, toychain
from catalog.proving.agreement import check_agreement, finished_parts, live_rows

SEED = 20260101
PATIENCE = 60.0  # seconds that a driver may take for an origin and all that is made of it


@dataclass
class Harm:
    """What went wrong, if anything."""

    lost: int = 0
    doubled: int = 0
    redone: int = 0  # parts that were finished and computed again
    died_at: list[str] = field(default_factory=list)

    def compare(self, rows: Mapping[str, Iterable[str]], reference: Mapping[str, Iterable[str]]) -> None:
        """Count the rows that a home lacks, and those that it has too often."""
        for table, wanted in reference.items():
            self.lost += (Counter(wanted) - Counter(rows[table])).total()
            self.doubled += (Counter(rows[table]) - Counter(wanted)).total()


def named_failpoints() -> list[str]:
    """Return every failpoint of publishing (those of maintenance and takedowns are driven by their own tests)."""
    source = "\n".join(path.read_text() for path in sorted(Path(catalog.__file__).parent.glob("*.py")))
    return sorted(set(re.findall(r'failpoint\.reach\("(?!maintain-|purge-)([a-z-]+)"\)', source)))


def moments(names: list[str], count: int) -> list[str]:
    """Return each named failpoint once, then random passings of any, a sixth of them at random times instead."""
    rng = random.Random(SEED)  # noqa: S311 — reproducible, keeps no secret
    named = [f"{name}:{rng.randint(1, 3)}" for name in names]
    rest = [f"*:{rng.randint(1, 45)}" if k % 6 else f"time {rng.uniform(0.05, 0.8):.3f}" for k in range(count)]
    return (named + rest)[:count]


def one_life(root: Path, origins: range, moment: str, trace: Path) -> bool:
    """Run a driver that is to die at `moment`; tell whether it did (else it came to its end)."""
    if not moment.startswith("time"):
        code = drivers.run(drivers.drive, root, origins, "A", moment, trace)
    else:
        process = drivers.start(drivers.drive, root, origins, "A", "", trace)
        process.join(float(moment.split()[1]))
        process.kill()
        code = drivers.finish(process)
    assert code in (0, drivers.KILLED), f"the driver failed by itself (exit code {code})"
    return code == drivers.KILLED


def kill(folder: Path, count: int) -> Harm:
    """Kill the drivers of one home `count` times, each commit step by name among them, then compare it with another.

    No part that was finished may be written or computed again.
    """
    root, trace = folder / "home", folder / "trace"
    harm = Harm()
    lives, last = 0, 2
    finished: dict[str, tuple[int, int]] = {}
    for moment in moments(named_failpoints(), count):
        while not one_life(root, range(max(0, last - 3), last), moment, trace):  # those before have been published
            last += 1  # it came to its end: give it new work to die of
            lives += 1
            assert lives < 4 * count + 20, f"'{moment}' is never reached"
        harm.died_at.append(trace.read_text().split()[-1] if not moment.startswith("time") else moment)
        now = finished_parts(root / "warehouse")
        harm.redone += len(finished.items() - now.items())
        finished = now
    whole = drivers.start(drivers.drive, root, range(last), "A", "", trace)
    quiet = drivers.start(drivers.drive, folder / "reference", range(last))
    assert [drivers.finish(driver, PATIENCE * last) for driver in (whole, quiet)] == [0, 0]
    _compare(root, folder / "reference", range(last), harm)
    harm.redone += len(finished.items() - finished_parts(root / "warehouse").items())
    parts = len(list((root / "warehouse" / "data" / "rejects").glob("*/*.parquet")))
    harm.redone += max(0, trace.read_text().split().count("part") - parts)
    return harm


def race(folder: Path, count: int) -> Harm:
    """Let three drivers race over the same inputs, one of them to be killed, `count` times; another one resumes."""
    rng = random.Random(SEED)  # noqa: S311 — reproducible, keeps no secret
    harm = Harm()
    assert drivers.run(drivers.drive, folder / "reference", range(5)) == 0
    for number in range(count):
        root = folder / f"home-{number}"
        moment = f"*:{rng.randint(1, 60)}"
        racers = [
            drivers.start(drivers.drive, root, range(first, first + 3), "A", moment if first == number % 3 else "")
            for first in range(3)
        ]
        codes = [drivers.finish(racer) for racer in racers]
        assert set(codes) <= {0, drivers.KILLED}, f"a driver failed by itself: exit codes {codes}"
        harm.died_at += [moment] * codes.count(drivers.KILLED)
        assert drivers.run(drivers.drive, root, range(5)) == 0
        _compare(root, folder / "reference", range(5), harm)
        shutil.rmtree(root)
    return harm


def _compare(root: Path, other: Path, origins: range, harm: Harm) -> None:
    with (
        mock.patch("catalog.pipeline.stages", lambda: toychain.STAGES),
        Home.open(toychain.make_config(root).catalog) as home,
        Home.open(toychain.make_config(other).catalog) as reference,
    ):
        expected = live_rows(reference)
        assert all(expected.values())
        harm.compare(live_rows(home), expected)
        check_agreement(home)
        check_agreement(reference)
        consumed = Counter(
            (row.stage, item.batch_id) for row in home.view().state.published.values() for item in row.inputs
        )
        harm.doubled += (consumed - Counter(consumed.keys())).total()
        seq = home.view().seq
        with closing(toychain.drive(root, origins)):
            pass
        assert home.view().seq == seq, "a complete home still had something to publish"
