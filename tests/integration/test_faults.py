"""Kill the driver with SIGKILL all along the publishing chain; running again must lose nothing and double nothing."""

import os
import random
import re
from pathlib import Path

import pytest

from catalog.home import Home
from catalog.proving import drivers, toychain
from catalog.proving.agreement import check_agreement, finished_parts, live_rows

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "40"))
SEED = 20260101


def named_failpoints(repo: Path) -> list[str]:
    """Every failpoint of publishing in the hub's source (test_maintain.py and test_purge.py have the others)."""
    source = "\n".join(path.read_text() for path in sorted((repo / "catalog").glob("*.py")))
    return sorted(set(re.findall(r'failpoint\.reach\("(?!maintain-|purge-)([a-z-]+)"\)', source)))


def moments(names: list[str], count: int) -> list[str]:
    """Each named failpoint once, then random passings of any failpoint, a sixth of them at random times instead."""
    rng = random.Random(SEED)
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


@pytest.mark.slow
def test_killed_anywhere_a_resumed_driver_loses_and_doubles_nothing(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = named_failpoints(repo)
    assert len(names) >= 7
    root, trace = tmp_path / "home", tmp_path / "trace"
    died_at: list[str] = []
    lives = 0
    last = 2
    finished: dict[str, tuple[int, int]] = {}
    for moment in moments(names, KILLS):
        while not one_life(root, range(max(0, last - 3), last), moment, trace):  # those before have been published
            last += 1  # it came to its end: give it new work to die of
            lives += 1
            assert lives < 4 * KILLS + 20, f"'{moment}' is never reached"
        died_at.append(trace.read_text().split()[-1] if not moment.startswith("time") else moment)
        now = finished_parts(root / "warehouse")
        assert now.items() >= finished.items(), f"a finished part was written again after dying at {moment}"
        finished = now
    assert set(names) <= set(died_at)
    assert len(died_at) == KILLS

    assert drivers.run(drivers.drive, root, range(last), "A", "", trace) == 0
    assert drivers.run(drivers.drive, tmp_path / "reference", range(last)) == 0
    monkeypatch.setattr("catalog.pipeline.stages", lambda: toychain.STAGES)
    with (
        Home.open(toychain.make_config(root).catalog) as home,
        Home.open(toychain.make_config(tmp_path / "reference").catalog) as reference,
    ):
        expected = live_rows(reference)
        assert all(expected.values())
        assert live_rows(home) == expected
        check_agreement(home)
        check_agreement(reference)
        assert finished_parts(root / "warehouse").items() >= finished.items()
        parts = len(list((root / "warehouse" / "data" / "rejects").glob("*/*.parquet")))
        assert trace.read_text().split().count("part") <= parts, "a finished part was computed again"
        seq = home.view().seq
        toychain.drive(root, range(last)).close()
        assert home.view().seq == seq, "a complete home still had something to publish"
