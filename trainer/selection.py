"""Which examples a round trains on, replays and measures itself with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from catalog.home import Batch, Input, View
from catalog.verdicts import set_aside
from trainer.balance import UNKNOWN, Balance
from trainer.plan import make_plan, shuffled
from trainer.round import HeldOut, Material
from trainer.settings import TrainerSettings

COLUMNS = ("batch_id", "example_id", "document_id", "document_batch", "split", "change")
TRAINED_CHANGES = frozenset({"new", "revised"})
FROZEN = "held-out"  # the order in which held-out documents are taken, the same in every round


@dataclass(frozen=True)
class Selection:
    """The examples of the batches to consume, and of those consumed before, by use."""

    batches: tuple[Batch, ...]
    num_in: dict[str, int]
    new: dict[str, str]  # example id → batch id of each row to train on
    older: frozenset[str]
    held_out_new: frozenset[str]
    held_out_old: frozenset[str]
    values: dict[str, str]  # example id → what it counts as where shares are asked for

    def inputs(self, trained: Iterable[str]) -> tuple[Input, ...]:
        """Account for every row of every batch: trained on, or skipped."""
        counts = dict.fromkeys(self.num_in, 0)
        for row in trained:
            if row in self.new:
                counts[self.new[row]] += 1
        return tuple(
            Input(batch, self.num_in[batch.batch_id], num_skipped=self.num_in[batch.batch_id] - counts[batch.batch_id])
            for batch in self.batches
        )


def select(view: View, batches: Sequence[Batch], consumed: Iterable[str], settings: TrainerSettings) -> Selection:
    """Sort the rows of `batches` and of the live batches `consumed` before by what a round does with them.

    Refreshed rows, held-out rows, duplicates and rows seen in an earlier round are not trained on.
    """
    fresh_ids = {batch.batch_id for batch in batches}
    by = settings.balance.by
    columns = (*COLUMNS, *([by] if by else []))
    rows = view.read("examples", columns, [*fresh_ids, *view.live_ids.intersection(consumed)])
    duplicates = set_aside(view, rows["document_id"].to_pylist())
    num_in = dict.fromkeys((batch.batch_id for batch in batches), 0)
    older: set[str] = set()
    candidates: dict[str, str] = {}
    revised: set[str] = set()
    held_out: dict[bool, set[str]] = {True: set(), False: set()}
    for row in rows.to_pylist():
        is_fresh = row["batch_id"] in fresh_ids
        if is_fresh:
            num_in[row["batch_id"]] += 1
        if (row["document_id"], row["document_batch"]) in duplicates:
            continue
        if row["split"] in settings.gate.splits:
            held_out[is_fresh].add(row["example_id"])
        elif row["split"] == "train" and not is_fresh:
            older.add(row["example_id"])
        elif row["split"] == "train" and row["change"] in TRAINED_CHANGES:
            candidates[row["example_id"]] = row["batch_id"]
            revised |= {row["example_id"]} if row["change"] == "revised" else set()
    trained = older | candidates.keys()  # what was ever trained on measures nothing
    held_out_old = held_out[False] - trained
    values = dict(zip(rows["example_id"].to_pylist(), rows[by].to_pylist(), strict=True)) if by else {}
    limit = settings.gate.max_documents
    return Selection(
        batches=tuple(batches),
        num_in=num_in,
        new={row: batch for row, batch in candidates.items() if row not in older or row in revised},
        older=frozenset(older),
        held_out_new=frozenset(shuffled(held_out[True] - held_out_old - trained, FROZEN)[:limit]),
        held_out_old=frozenset(shuffled(held_out_old, FROZEN)[:limit]),
        values={row: value or UNKNOWN for row, value in values.items()},
    )


def plan_of(selection: Selection, seed: str, settings: TrainerSettings) -> pa.Table:
    """Order what a round trains on (`plan.PLAN`)."""
    balance = Balance(settings.balance, selection.values)
    epochs = settings.training_args.num_train_epochs
    return make_plan({"new": selection.new}, selection.older, settings.replay, epochs, seed, balance)


def gather(view: View, selection: Selection, round_id: str, settings: TrainerSettings) -> Material:
    """Plan the round and fetch the text of every row that it touches."""
    plan = plan_of(selection, f"{settings.training_args.seed}/{round_id}", settings)
    wanted = {*plan["row_id"].to_pylist(), *selection.held_out_new, *selection.held_out_old}
    found = view.lookup("examples", "example_id", wanted, ("batch_id", "example_id", "split", "text"))
    rows = _choose(view, found, selection)

    def held_out(ids: frozenset[str]) -> list[HeldOut]:
        return [HeldOut(row, rows[row]["split"], rows[row]["text"]) for row in sorted(ids)]

    return Material(
        round_id=round_id,
        inputs=tuple(batch.batch_id for batch in selection.batches),
        plan=plan,
        texts={row: rows[row]["text"] for row in sorted(set(plan["row_id"].to_pylist()))},
        new=held_out(selection.held_out_new),
        old=held_out(selection.held_out_old),
    )


def _choose(view: View, found: pa.Table, selection: Selection) -> dict[str, dict[str, str]]:
    """Return one row per example: of the batch to train on where that holds it, else of the newest."""
    published = view.state.published

    def rank(row: dict[str, str]) -> tuple[bool, int]:
        return selection.new.get(row["example_id"]) == row["batch_id"], published[row["batch_id"]].seq

    ordered = sorted(found.to_pylist(), key=rank)
    return {row["example_id"]: row for row in ordered}
