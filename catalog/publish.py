"""Publish batches exactly once: shards by workers, each table committed by the driver, the ledger row last."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalog import failpoint, flow, ids, pipeline, progress
from catalog.errors import CommitConflict, InputError
from catalog.lease import Lease
from catalog.ledger import ORIGIN, PURGE, InputCounts, Row, State, now
from catalog.settings import Config, Resources
from catalog.shards import DonePart, Part, PartKey, ShardWriter, cut, find_done, write_part
from catalog.stage import Stage, StageReport, Worker

if TYPE_CHECKING:
    from catalog.home import Home

log = logging.getLogger("headrace")


WAITING = "purges"  # takedowns that are not finished, below the root


@dataclass(frozen=True)
class Batch:
    """One published batch, as a stage that reads it sees it."""

    batch_id: str
    stage: str
    origins: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: Mapping[str, int]
    seq: int
    time: datetime

    @classmethod
    def of(cls, row: Row) -> "Batch":
        """Read a batch from its ledger row."""
        inputs = tuple(item.batch_id for item in row.inputs)
        return cls(row.batch_id, row.stage, row.origins, inputs, row.outputs, row.seq, row.time)


@dataclass(frozen=True)
class Input:
    """One input batch of a plan: how many rows it offers, and how many of them need no work."""

    batch: Batch
    num_in: int
    num_reused: int = 0
    num_skipped: int = 0


@dataclass(frozen=True)
class Plan:
    """One output batch to make: its inputs, and the rows that a worker shall see."""

    inputs: tuple[Input, ...]
    rows: pa.Table
    row_id: str
    part_rows: int = 1000
    seq: int = 0  # the ledger's last seq when it was planned; needed by stages that publish alone
    relies_on: frozenset[str] = frozenset()  # batches of its own stage that hold the rows it counts as reused


@dataclass
class _Open:
    """A plan whose parts are not all done yet."""

    plan: Plan
    batch_id: str
    expected: int = 0
    done: list[DonePart] = field(default_factory=list)
    cut: bool = False

    @property
    def whole(self) -> bool:
        return self.cut and len(self.done) == self.expected


class Publisher:
    """Takes the plans of one stage to the ledger."""

    def __init__(self, home: "Home", stage: Stage, config: Config) -> None:
        self._home = home
        self._stage = stage
        self._config = config
        self._recipe = pipeline.recipe(stage, config)
        self._since = home.seen
        self._open: dict[str, _Open] = {}
        self._lease = Lease(home.root)
        self.report = StageReport(stage.name)

    def run(self, plans: Iterable[Plan], make_worker: Callable[[], Worker], resources: Resources) -> StageReport:
        """Run every plan's missing parts and commit each batch when its last part is done."""
        started = time.monotonic()
        writer = ShardWriter(self._home.warehouse, self._stage.tables, dict(self._stage.traces))
        job = flow.Job(self._stage.name, make_worker, writer, resources)
        settings = self._config.catalog
        refuse_waiting(self._home.root)
        with self._lease, progress.bar(self._stage.name) as bar:
            for done in flow.run(job, self._parts(plans), settings.engine, settings.ray_address):
                self._open[done.key.batch_id].done.append(done)
                bar.advance(done.key.num_rows)
                self._commit_whole()
            self._commit_whole()
        self.report.seconds = time.monotonic() - started
        return self.report

    def _parts(self, plans: Iterable[Plan]) -> Iterator[Part]:
        """Yield the parts that are not on disk yet; remember the others as done."""
        for plan in plans:
            batch_id = ids.batch_id(self._stage.name, self._recipe, [item.batch.batch_id for item in plan.inputs])
            if batch_id in self._home.ledger.refresh().published:
                continue
            self._check_rows(plan)
            self._lease.hold(batch_id)
            opened = self._open[batch_id] = _Open(plan, batch_id)
            find = find_done(self._home.warehouse, batch_id)
            missing = []
            for part in cut(batch_id, plan.rows, plan.row_id, plan.part_rows):
                opened.expected += 1
                done = find(part.key)
                if done is None:
                    missing.append(part)
                else:
                    opened.done.append(done)
            opened.cut = True
            yield from missing
            self._commit_whole()

    def _check_rows(self, plan: Plan) -> None:
        """Hold the planner to it that every input row is worked on, reused or skipped (others may be added)."""
        if not self._stage.joins:
            due = sum(item.num_in - item.num_reused - item.num_skipped for item in plan.inputs)
            assert plan.rows.num_rows >= due, (
                f"{self._stage.name}: {due} rows came in, {plan.rows.num_rows} are planned"
            )

    def _commit_whole(self) -> None:
        """Commit what is whole; a batch that reuses rows of others waits until those are committed."""
        while ready := [
            item for item in self._open.values() if item.whole and item.plan.relies_on.isdisjoint(self._open)
        ]:
            for opened in ready:
                del self._open[opened.batch_id]
                self._commit(opened)

    def _commit(self, opened: _Open) -> None:
        done = sorted(opened.done, key=lambda part: part.key.index)
        row = _row(self._stage, self._recipe, self._config, opened, done)
        if not self._check(self._home.ledger.refresh(), opened):
            self._give_up(opened)  # another driver published it while we worked, or took away its ground
            return
        commit_tables(self._home, opened.batch_id, done)
        appended = self._home.ledger.append(lambda state: [row] if self._check(state, opened) else [])
        if appended:
            count(self.report, row)
        else:
            self._give_up(opened)

    def _give_up(self, opened: _Open) -> None:
        """Leave nothing of a batch that a takedown came before: its rows may hold what was taken down."""
        from catalog.erase import discard  # which needs this module

        state = self._home.ledger.refresh()
        if self._was_purged(state) and opened.batch_id not in state.published:
            with self._lease.alone_with(opened.batch_id) as alone:
                if alone:  # else the other, who planned later, may publish it
                    discard(self._home, opened.batch_id)

    def _check(self, state: State, opened: _Open) -> bool:
        """Tell whether the batch may still be published; raise CommitConflict if a joining stage must plan again."""
        if opened.batch_id in state.published:
            return False
        if self._was_rolled_back(state, opened):
            return False
        if self._was_purged(state):
            self._note(f"batch {opened.batch_id} was not published: a takedown came between; run again")
            return False
        if self._stage.joins:
            taken = state.consumed(self._stage.name, None if self._stage.forever else self._recipe)
            both = [item.batch.batch_id for item in opened.plan.inputs if item.batch.batch_id in taken]
            if both:
                raise CommitConflict(f"{self._stage.name}: another run consumed batch {both[0]} meanwhile; run again")
        if self._stage.alone:
            others = [r for r in state.published.values() if r.stage == self._stage.name and r.seq > opened.plan.seq]
            if others:
                raise CommitConflict(f"{self._stage.name}: another run published batch {others[0].batch_id}; run again")
        return True

    def _was_rolled_back(self, state: State, opened: _Open) -> bool:
        """Tell whether a rollback took back, since the planning, what the batch was made from or relies on."""
        inputs = {item.batch.batch_id for item in opened.plan.inputs} & state.revoked
        reused = opened.plan.relies_on - (state.published.keys() - state.revoked)
        if not inputs and not reused:
            return False
        gone = min(inputs or reused)
        if self._stage.joins:
            raise CommitConflict(f"{self._stage.name}: batch {gone} was rolled back meanwhile; run again")
        self._note(f"batch {opened.batch_id} was not published: a rollback took back {gone}, on which it is based")
        return True

    def _was_purged(self, state: State) -> bool:
        """Tell whether something was taken down since the planning: the rows may be made of it."""
        return any(row.seq > self._since and row.stage == PURGE for row in state.published.values())

    def _note(self, note: str) -> None:
        if note not in self.report.notes:
            self.report.notes.append(note)


def refuse_waiting(root: Path) -> None:
    """Raise InputError while a takedown is not finished: what is planned now may hold what it is to remove."""
    if any((root / WAITING).glob("*.json")):
        raise InputError(f"{root}: a takedown is at work or was killed; wait for it, or run headrace purge --resume")


def publish_origin(
    home: "Home", stage: Stage, key: str, num_in: int, tables: Mapping[str, pa.Table], settings: Mapping[str, object]
) -> StageReport:
    """Publish what came from outside as one batch, identified by the hash `key` of its content; a no-op when known."""
    report = StageReport(stage.name)
    batch_id = ids.batch_id(stage.name, ORIGIN, [key])
    if batch_id in home.ledger.refresh().published:
        return report
    with Lease(home.root) as lease:
        lease.hold(batch_id)
        part = PartKey(batch_id, 0, num_in, ids.make_id("part", key), "")
        done = find_done(home.warehouse, batch_id)(part) or write_part(home.warehouse, part, tables, stage.tables)
        commit_tables(home, batch_id, [done])
        row = _origin_row(stage, batch_id, key, num_in, done, settings)
        if home.ledger.append(lambda state: [] if batch_id in state.published else [row]):
            count(report, row)
    return report


def _origin_row(
    stage: Stage, batch_id: str, key: str, num_in: int, done: DonePart, settings: Mapping[str, object]
) -> Row:
    rejected = sum(done.rejects.values())
    return Row(
        seq=0,
        kind="publish",
        stage=stage.name,
        time=now(),
        batch_id=batch_id,
        settings_hash=ORIGIN,
        settings=_json(settings),
        inputs=(InputCounts(key, num_in, num_in - rejected, rejected),),
        origins=(batch_id,),
        outputs=dict(done.rows),
        rejects=dict(done.rejects),
        code_version=code_version(),
    )


def commit_tables(home: "Home", batch_id: str, parts: Iterable[DonePart]) -> None:
    """Commit a batch's shards, one commit a table; tables that already hold the batch are left alone."""
    by_table: dict[str, list[str]] = {}
    for part in parts:
        for table, url in part.shards.items():
            by_table.setdefault(table, []).append(url)
    for table, urls in sorted(by_table.items()):
        home.store.add(table, batch_id, urls)
        failpoint.reach("table")


def count(report: StageReport, row: Row) -> None:
    """Add one published batch to a report."""
    report.batches += 1
    for item in row.inputs:
        report.num_in += item.num_in
        report.num_processed += item.num_processed
        report.num_rejected += item.num_rejected
        report.num_reused += item.num_reused
        report.num_skipped += item.num_skipped
    for table, rows in row.outputs.items():
        report.outputs[table] = report.outputs.get(table, 0) + rows
    for reason, rows in row.rejects.items():
        report.rejects[reason] = report.rejects.get(reason, 0) + rows


def code_version() -> str:
    """Return the version of headrace that makes the rows."""
    return version("headrace")


def _row(stage: Stage, recipe_hash: str, config: Config, opened: _Open, done: list[DonePart]) -> Row:
    outputs: dict[str, int] = {}
    rejects: dict[str, int] = {}
    for part in done:
        for table, rows in part.rows.items():
            outputs[table] = outputs.get(table, 0) + rows
        for reason, rows in part.rejects.items():
            rejects[reason] = rejects.get(reason, 0) + rows
    inputs = opened.plan.inputs
    rejected = sum(rejects.values())
    assert not rejected or len(inputs) == 1, "a joining stage cannot say which input its rejects came from"
    return Row(
        seq=0,
        kind="publish",
        stage=stage.name,
        time=now(),
        batch_id=opened.batch_id,
        settings_hash=recipe_hash,
        settings=_json(stage.settings(config)),
        inputs=tuple(_counts(item, rejected) for item in inputs),
        origins=tuple(sorted({origin for item in inputs for origin in item.batch.origins})),
        outputs=outputs,
        rejects=rejects,
        code_version=code_version(),
    )


def _counts(item: Input, rejected: int) -> InputCounts:
    processed = item.num_in - rejected - item.num_reused - item.num_skipped
    assert processed >= 0, f"batch {item.batch.batch_id}: more rows accounted for than came in"
    return InputCounts(item.batch.batch_id, item.num_in, processed, rejected, item.num_reused, item.num_skipped)


def _json(settings: Mapping[str, object]) -> str:
    return json.dumps(dict(settings), sort_keys=True, ensure_ascii=False, default=str)
