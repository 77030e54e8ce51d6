"""What a stage is: a name, what it reads, what it writes, and which settings change its results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    from catalog.home import Home
    from catalog.settings import Config

# A worker turns one part of a batch (rows sorted by id) into rows by table name, `rejects` among them.
# Every input row either contributes output rows or has exactly one row in `rejects` (matched by record_id).
Worker: TypeAlias = Callable[[pa.Table], Mapping[str, pa.Table]]


@dataclass(frozen=True)
class Stage:
    """One table-to-table job, as the hub sees it; each package's job.py declares its own."""

    name: str
    reads: tuple[str, ...]  # the stages whose batches it consumes; empty for an origin
    tables: tuple[str, ...]  # the tables it writes, without `rejects`, which every stage may write
    result_version: int  # raised by hand when the code changes results
    settings: Callable[["Config"], Mapping[str, object]]  # only those that change results
    run: Callable[["Home", "Config"], "StageReport"]
    waits_for: tuple[str, ...] = ()  # siblings that must have published for an input batch before it is to do
    traces: Mapping[str, str] = field(default_factory=dict)  # output table → its column that names the input row
    joins: bool = False  # consumes many input batches at once
    alone: bool = False  # gives way if another batch of its own was published since it planned
    forever: bool = False  # what it consumed stays consumed whatever the settings


@dataclass
class StageReport:
    """What one run of a stage did, for people and for --json."""

    stage: str
    batches: int = 0
    num_in: int = 0
    num_processed: int = 0
    num_rejected: int = 0
    num_reused: int = 0
    num_skipped: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, other: "StageReport") -> None:
        """Count what another run of the stage did as well."""
        for name in ("batches", "num_in", "num_processed", "num_rejected", "num_reused", "num_skipped", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for ours, theirs in ((self.outputs, other.outputs), (self.rejects, other.rejects)):
            for name, rows in theirs.items():
                ours[name] = ours.get(name, 0) + rows
        self.notes += other.notes
