"""The hub as a state machine: whatever happens in whatever order, live rows are what the ledger says they must be."""

import os

import pytest

from catalog.proving import machine

STEPS = int(os.environ.get("HEADRACE_TEST_STEPS", "300"))  # the long form, `headrace scoreboard --only 11`: 10,000


@pytest.mark.slow
def test_no_history_makes_the_hub_disagree_with_its_model() -> None:
    assert machine.run(STEPS) >= STEPS
