"""The promotion gate: a pure function of two measurements."""

from dataclasses import dataclass

from trainer.settings import GateArgs


@dataclass(frozen=True)
class Decision:
    """Whether a candidate takes the promoted place, and every reason for or against."""

    promoted: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """The loss on one held-out slice before and after, in nats per token; None where the slice is empty."""

    before: float
    after: float
    documents: int

    @property
    def rise(self) -> float:
        """By how much the loss rose; negative when the model got better."""
        return self.after - self.before


def decide(new: Change | None, old: Change | None, limits: GateArgs) -> Decision:
    """Promote iff new held-out text got no worse than `tolerance` and older text no worse than `old_budget`.

    Where the new batches hold nothing out, older text decides alone; without any held-out text nothing is promoted.
    A loss that is not a number never passes.
    """
    if new is None and old is None:
        return Decision(False, ("no held-out text, so nothing shows that the candidate is better",))
    checks = []
    if new is None:
        checks.append((True, "the new batches hold no text out; older held-out text decides"))
    else:
        checks.append(_check("new", new, limits.tolerance))
    if old is not None:
        checks.append(_check("older", old, limits.old_budget))
    return Decision(all(passed for passed, _ in checks), tuple(reason for _, reason in checks))


def _check(name: str, change: Change, allowed: float) -> tuple[bool, str]:
    passed = change.rise <= allowed  # false for NaN
    direction = "fell" if change.rise < 0 else "rose" if change.rise > 0 else "stayed"
    verdict = "within" if passed else "beyond"
    return passed, (
        f"{name} held-out loss {direction} from {change.before:.4f} to {change.after:.4f} nats per token "
        f"({change.documents} documents), {verdict} the allowed rise of {allowed:g}"
    )
