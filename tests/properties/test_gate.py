"""The promotion gate as a rule on two differences."""

import math

from hypothesis import given
from hypothesis import strategies as st

from trainer.gate import Change, decide
from trainer.settings import GateArgs

LOSS = st.floats(0, 20)
CHANGES = st.builds(Change, before=LOSS, after=LOSS, documents=st.integers(1, 9))
MAYBE = st.none() | CHANGES
LIMITS = st.builds(GateArgs, tolerance=st.floats(0, 1), old_budget=st.floats(0, 1))


@given(CHANGES, MAYBE, LIMITS)
def test_promotes_iff_both_rises_are_allowed(new: Change, old: Change | None, limits: GateArgs) -> None:
    allowed = new.after - new.before <= limits.tolerance
    if old is not None:
        allowed = allowed and old.after - old.before <= limits.old_budget
    assert decide(new, old, limits).promoted == allowed


@given(CHANGES, LIMITS)
def test_older_text_decides_alone_where_the_new_batches_hold_none_out(old: Change, limits: GateArgs) -> None:
    decision = decide(None, old, limits)
    assert decision.promoted == (old.rise <= limits.old_budget)
    assert "hold no text out" in decision.reasons[0]


@given(MAYBE, MAYBE, LIMITS, st.floats(0, 5))
def test_a_better_candidate_is_never_refused_where_a_worse_one_passed(
    new: Change | None, old: Change | None, limits: GateArgs, gain: float
) -> None:
    def better(change: Change | None) -> Change | None:
        return change and Change(change.before, change.after - gain, change.documents)

    if decide(new, old, limits).promoted:
        assert decide(better(new), better(old), limits).promoted


@given(MAYBE, MAYBE, LIMITS)
def test_every_slice_gets_its_reason(new: Change | None, old: Change | None, limits: GateArgs) -> None:
    reasons = decide(new, old, limits).reasons
    assert len(reasons) == 1 + (old is not None) * 1 if new is not None or old is None else len(reasons) == 2
    for change in (new, old):
        if change is not None:
            assert any(f"{change.before:.4f} to {change.after:.4f}" in reason for reason in reasons)


def test_without_held_out_text_nothing_is_promoted() -> None:
    decision = decide(None, None, GateArgs(tolerance=9.0))
    assert not decision.promoted
    assert "no held-out text" in decision.reasons[0]


def test_a_loss_that_is_not_a_number_never_passes() -> None:
    assert not decide(Change(3.0, math.nan, 1), None, GateArgs(tolerance=9.0)).promoted
    assert not decide(Change(3.0, 2.0, 1), Change(3.0, math.nan, 1), GateArgs(old_budget=9.0)).promoted


def test_better_on_new_text_does_not_buy_forgetting() -> None:
    decision = decide(Change(3.0, 1.0, 4), Change(2.0, 2.2, 7), GateArgs())
    assert not decision.promoted
    assert "older held-out loss rose from 2.0000 to 2.2000" in decision.reasons[1]
    assert "beyond the allowed rise of 0.05" in decision.reasons[1]
