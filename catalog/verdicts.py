"""What stewards say of duplicate decisions: rows of `reviews`, which no rollback takes back and all readers heed."""

from collections.abc import Collection, Iterable

from catalog.decisions import Pair, Record, Verdict, Verdicts, discarded
from catalog.home import View


def read(view: View, column: str, ids: Iterable[str]) -> Verdicts:
    """Return the last verdict on each pair whose record (column subject_id) or kept record (other_id) is among ids."""
    if not view.urls("reviews"):
        return {}  # as in most homes; a lookup would hash every id
    rows = view.lookup("reviews", column, ids).to_pylist()
    rows.sort(key=lambda row: (view.state.published[row["batch_id"]].seq, row["review_id"]))
    return {(row["subject_id"], row["other_id"]): row["verdict"] for row in rows if row["other_id"]}


def set_aside(view: View, ids: Iterable[str]) -> frozenset[Record]:
    """Return, of these documents or media, the (id, batch) pairs that readers skip."""
    wanted = set(ids)
    rows = view.lookup("duplicates", "record_id", wanted)
    return discarded(rows, read(view, "subject_id", rows["record_id"].to_pylist()))


def apart(view: View, ids: Collection[str]) -> frozenset[Pair]:
    """Return the pairs with one of these ids that a steward called distinct, whichever was kept."""
    found = {**read(view, "subject_id", ids), **read(view, "other_id", ids)}
    return frozenset(frozenset(pair) for pair, verdict in found.items() if verdict == Verdict.DISTINCT)


def since(view: View, seq: int) -> Verdicts:
    """Return the verdicts of the batches that were published after a seq."""
    batches = [row.batch_id for row in view.state.live.values() if row.seq > seq and row.outputs.get("reviews")]
    if not batches:
        return {}
    rows = view.read("reviews", ["subject_id", "other_id"], batches).to_pylist()
    return read(view, "subject_id", [row["subject_id"] for row in rows if row["other_id"]])
