"""Kill the driver with SIGKILL all along the publishing chain; running again must lose nothing and double nothing."""

import os
from pathlib import Path

import pytest

from catalog.proving import kills

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "40"))


@pytest.mark.slow
def test_killed_anywhere_a_resumed_driver_loses_and_doubles_nothing(tmp_path: Path) -> None:
    names = kills.named_failpoints()
    assert len(names) >= 7
    harm = kills.kill(tmp_path, KILLS)
    assert (harm.lost, harm.doubled, harm.redone) == (0, 0, 0)
    assert set(names) <= set(harm.died_at)
    assert len(harm.died_at) == KILLS


def test_killed_among_racing_drivers_one_is_replaced_without_loss(tmp_path: Path) -> None:
    harm = kills.race(tmp_path, max(2, KILLS // 20))
    assert (harm.lost, harm.doubled, harm.redone) == (0, 0, 0)
    assert harm.died_at
