"""The ledger: a batch exists when its row stands here; everything else is derived by subtraction."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import failpoint, files, shards
from catalog.pins import Pinned, Pins
from catalog.schema import BATCHES

ORIGIN = "origin"  # the recipe of origin batches, which no setting invalidates
COMPACT_FILES = 200  # rewrite the ledger's one-row files into one when there are more
LINK = b"headrace.ledger"  # a file's Parquet metadata: the name of the file that holds the row before its first
PURGE = "purge"  # the stage that publishes tombstones, and a row when what they mean is gone from the tables
LASTING = frozenset({"tombstones", "reviews", "feedback"})  # tables whose rows no rollback takes back


Removed: TypeAlias = Mapping[str, Mapping[tuple[str, str], int]]


@dataclass(frozen=True)
class InputCounts:
    """How one input batch was accounted for: in = processed + rejected + reused + skipped."""

    batch_id: str
    num_in: int
    num_processed: int
    num_rejected: int
    num_reused: int = 0
    num_skipped: int = 0


@dataclass(frozen=True)
class Row:
    """One row of the ledger."""

    seq: int
    kind: str
    stage: str
    time: datetime
    batch_id: str = ""
    settings_hash: str = ""
    settings: str = "{}"
    inputs: tuple[InputCounts, ...] = ()
    origins: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    name: str = ""
    outputs: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    code_version: str = ""
    at_seq: int = 0

    @property
    def lasts(self) -> bool:
        """Tell whether this publishes what people said or had removed, which no rollback takes back."""
        return self.stage == PURGE or not LASTING.isdisjoint(self.outputs)


class State:
    """The ledger as read at one moment, or as it stood at an earlier `seq`."""

    def __init__(self, rows: Iterable[Row], removed: "Removed | None" = None) -> None:
        self.rows = sorted(rows, key=lambda row: row.seq)
        self._removed = removed
        self._consumed: dict[tuple[str, str | None], set[str]] = {}

    @property
    def last_seq(self) -> int:
        """The greatest sequence number, 0 when empty."""
        return self.rows[-1].seq if self.rows else 0

    def at(self, seq: int) -> "State":
        """Return the ledger as it stood when `seq` was its last row."""
        return State((row for row in self.rows if row.seq <= seq), self.removed)

    @cached_property
    def tags(self) -> dict[str, int]:
        """The seq that each tag names; a name given again means the later one."""
        return {row.name: row.at_seq for row in self.rows if row.kind == "tag" and row.name}

    @cached_property
    def removed(self) -> "Removed":
        """How many rows takedowns took out of the tables: batch → (table, reason) → rows; no rollback undoes that."""
        if self._removed is not None:
            return self._removed
        made = {row.batch_id: row.seq for row in self.rows if row.kind == "publish"}
        found: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for row in self.rows:
            if row.kind == "publish" and "tombstones" in row.outputs:
                for table, batch, reason, number in json.loads(row.settings).get("removed", ()):
                    if made.get(batch, row.seq) < row.seq:  # else it is made since, without what was taken down
                        found[batch][table, reason] += number
        return found

    @cached_property
    def published(self) -> dict[str, Row]:
        """Every publish row by batch id, with the numbers of rows that takedowns left."""
        return {row.batch_id: self._left(row) for row in self.rows if row.kind == "publish"}

    def _left(self, row: Row) -> Row:
        gone = self.removed.get(row.batch_id)
        if not gone:
            return row
        outputs = {table: rows - gone.get((table, ""), 0) for table, rows in row.outputs.items()}
        rejects = {reason: rows - gone.get(("rejects", reason), 0) for reason, rows in row.rejects.items()}
        rejects = {reason: rows for reason, rows in rejects.items() if rows}
        return replace(row, outputs={table: rows for table, rows in outputs.items() if rows}, rejects=rejects)

    @cached_property
    def revoked(self) -> frozenset[str]:
        """Batches whose last mention in a revoke or activate row is a revoke."""
        last = {target: row.kind for row in self.rows if row.kind in ("revoke", "activate") for target in row.targets}
        return frozenset(target for target, kind in last.items() if kind == "revoke")

    @cached_property
    def activated(self) -> dict[tuple[str, str], int]:
        """The last activation of each (stage, recipe), as its seq."""
        return {
            (row.stage, row.settings_hash): row.seq for row in self.rows if row.kind == "activate" and row.settings_hash
        }

    @cached_property
    def live(self) -> dict[str, Row]:
        """The batches that readers see: per (stage, origin), those of the recipe activated last that has published.

        Where the newest recipe has not published yet the one before stays, so no settings change leaves a hole.
        """
        best: dict[tuple[str, str], int] = defaultdict(lambda: -1)
        candidates = [row for row in self.published.values() if row.batch_id not in self.revoked]
        rank = {row.batch_id: self.activated.get((row.stage, row.settings_hash), 0) for row in candidates}
        for row in candidates:
            for origin in row.origins:
                best[row.stage, origin] = max(best[row.stage, origin], rank[row.batch_id])
        return {
            row.batch_id: row
            for row in candidates
            if any(best[row.stage, origin] == rank[row.batch_id] for origin in row.origins)
        }

    def active_recipe(self, stage: str) -> str | None:
        """Return the recipe that was activated last for a stage."""
        ours = [(seq, recipe) for (name, recipe), seq in self.activated.items() if name == stage]
        return max(ours)[1] if ours else None

    def consumed(self, stage: str, recipe: str | None) -> set[str]:
        """Return the inputs that a stage has consumed under a recipe (None: under any, revoked batches excepted)."""
        if (stage, recipe) not in self._consumed:
            self._consumed[stage, recipe] = {
                item.batch_id
                for row in self.published.values()
                if row.stage == stage
                and (row.settings_hash == recipe if recipe is not None else row.batch_id not in self.revoked)
                for item in row.inputs
            }
        return self._consumed[stage, recipe]

    @cached_property
    def made_from(self) -> dict[tuple[str, str], set[str]]:
        """The batches that each stage published from an input batch, by (stage, input batch)."""
        made: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in self.published.values():
            for item in row.inputs:
                made[row.stage, item.batch_id].add(row.batch_id)
        return made


class Ledger:
    """The `batches` table: append-only, one commit a row group, checked again after every refresh."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._by_file: dict[str, list[Row]] = {}
        self._state: State | None = None
        self._read_at = ""  # the metadata file that the state was read from

    def refresh(self) -> State:
        """Read the rows that were appended since the last call."""
        return self._read(self._pins.pin("batches"))

    def _read(self, pinned: Pinned | None) -> State:
        location, urls = (pinned.location, pinned.urls) if pinned else ("", ())
        if self._state is not None and location == self._read_at:
            return self._state
        self._by_file = {url: self._by_file.get(url) or from_table(shards.load(url, BATCHES)) for url in urls}
        self._state = State(row for rows in self._by_file.values() for row in rows)
        self._read_at = location
        return self._state

    def append(self, propose: Callable[[State], Iterable[Row]]) -> list[Row]:
        """Append the rows that `propose` makes of the current state, numbered; it may raise, or propose none."""
        from catalog.store import add_files, committing  # see Home.store

        store = self._pins.store

        def attempt() -> list[Row]:
            table = store.load("batches")
            state = self._read(self._pins.of(table))
            proposed = [_numbered(row, state.last_seq + 1 + k) for k, row in enumerate(propose(state))]
            if not proposed:
                return []
            failpoint.reach("before-ledger")
            if len(self._by_file) > COMPACT_FILES:
                store.swap(table, list(self._by_file), [self._write([*state.rows, *proposed], "")])
            else:
                last = [url for url, rows in self._by_file.items() if any(row.seq == state.last_seq for row in rows)]
                url = self._write(proposed, last[0].rpartition("/")[2] if last else "")
                add_files(table, [url])
            failpoint.reach("after-ledger")
            store.expire(table)
            return proposed

        return committing(attempt, "the ledger")

    def _write(self, rows: list[Row], before: str) -> str:
        """Write rows as a file named by its own hash and linked to the file before it; it counts once committed."""
        table = to_table(rows).replace_schema_metadata({LINK: before.encode()})
        return shards.save(table, files.join(self._pins.warehouse, "data", "batches"), rows[0].seq)


def now() -> datetime:
    """Return the time that a new ledger row carries."""
    return datetime.now(UTC)


def to_table(rows: Iterable[Row]) -> pa.Table:
    """Turn ledger rows into the `batches` table."""
    return pa.Table.from_pylist([_record(row) for row in rows], schema=BATCHES)


def _numbered(row: Row, seq: int) -> Row:
    return Row(**{**row.__dict__, "seq": seq})


def _record(row: Row) -> dict[str, Any]:
    return {
        **row.__dict__,
        "inputs": [item.__dict__ for item in row.inputs],
        "origins": list(row.origins),
        "targets": list(row.targets),
        "outputs": [{"table": table, "rows": rows} for table, rows in row.outputs.items()],
        "rejects": [{"reason": reason, "rows": rows} for reason, rows in row.rejects.items()],
    }


def from_table(table: pa.Table) -> list[Row]:
    """Read ledger rows from the `batches` table."""
    return [
        Row(
            **{
                **record,
                "inputs": tuple(InputCounts(**item) for item in record["inputs"] or ()),
                "origins": tuple(record["origins"] or ()),
                "targets": tuple(record["targets"] or ()),
                "outputs": {item["table"]: item["rows"] for item in record["outputs"] or ()},
                "rejects": {item["reason"]: item["rows"] for item in record["rejects"] or ()},
                "at_seq": record["at_seq"] or 0,  # absent from the files of an older headrace
            }
        )
        for record in table.to_pylist()
    ]
