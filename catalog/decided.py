"""What dedup has decided so far under one recipe: the records that it knows, what it said of them, and stewards did."""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from catalog import verdicts
from catalog.decisions import NO_DECISION, PROPOSED, Known, Record, Verdict, Verdicts, Version, known
from catalog.home import View
from catalog.ledger import Row

DOCUMENT = ["document_id", "batch_id", "url", "text_sha256", "fetched_at", "page_id"]
MEDIUM = ["media_id", "batch_id", "url", "kind", "fetched_at", "page_id"]
PURGE = "purge"


class Decided:
    """The records of the extract batches that were decided about under a recipe."""

    def __init__(self, view: View, stage: str, recipe: str) -> None:
        self._view = view
        self._stage = stage
        self.batches = view.state.consumed(stage, recipe)
        ours = [row for row in view.state.live.values() if (row.stage, row.settings_hash) == (stage, recipe)]
        self._ours = {row.batch_id: row for row in ours}

    @cached_property
    def last_seq(self) -> int:
        """The seq of the last decisions that readers see, of any recipe."""
        return max((row.seq for row in self._view.state.live.values() if row.stage == self._stage), default=0)

    def documents(self, column: str, values: Iterable[str], but: Collection[str] = ()) -> dict[Record, Version]:
        """Look up documents that were decided about, those of some batches excepted."""
        return {item.record: item for item in documents(self._look("documents", column, values, DOCUMENT, but))}

    def media(self, kind: str, ids: Iterable[str], but: Collection[str] = ()) -> dict[Record, Version]:
        """Look up media of a kind (image, audio) that were decided about, those of some batches excepted."""
        rows = self._look("media", "media_id", ids, MEDIUM, but)
        return {item.record: item for item in media(rows.filter(pc.equal(rows["kind"], kind)))}

    def _look(
        self, table: str, column: str, values: Iterable[str], columns: list[str], but: Collection[str]
    ) -> pa.Table:
        batches = self.batches - set(but)
        rows = self._view.lookup(table, column, values if batches else (), columns)
        return rows.filter(pc.is_in(rows["batch_id"], pa.array(sorted(batches), pa.string())))

    def decisions(self, column: str, values: Iterable[str]) -> pa.Table:
        """Look up decisions of this recipe: those of others stay readable until every document was decided anew."""
        rows = self._view.lookup("duplicates", column, values)
        return rows.filter(pc.is_in(rows["batch_id"], pa.array(sorted(self._ours), pa.string())))

    def known(self, others: Collection[Record], lost: frozenset[Record] = frozenset()) -> Known:
        """Return what is known of some records, and whether what stands for them was superseded."""
        ids = {record[0] for record in others}
        rows = self.decisions("record_id", ids)
        keepers = self.decisions("record_id", set(rows["kept_id"].to_pylist()) - ids)
        told = pa.concat_tables([rows, keepers])
        found = known(told, verdicts.read(self._view, "subject_id", told["record_id"].to_pylist()))
        discarded = {record: to for record, to in found.discarded.items() if record in others}
        return Known(found.superseded, discarded, lost)

    def keepers(self, ids: Collection[str]) -> dict[str, set[str]]:
        """Return, for records that were set aside, the ids of those that stand for them."""
        rows = self.decisions("record_id", ids)
        found = known(rows, verdicts.read(self._view, "subject_id", rows["record_id"].to_pylist()))
        kept: dict[str, set[str]] = {}
        for record, keepers in found.discarded.items():
            kept.setdefault(record[0], set()).update(keeper[0] for keeper in keepers)
        return kept

    def dropped_for(self, records: Collection[Record]) -> set[Record]:
        """Return the records that were decided to be duplicates of some."""
        rows = self.decisions("kept_id", {record[0] for record in records}).to_pylist()
        return {
            (row["record_id"], row["record_batch"]) for row in rows if (row["kept_id"], row["kept_batch"]) in records
        }

    @cached_property
    def said(self) -> Verdicts:
        """The verdicts since the last decisions."""
        return verdicts.since(self._view, self.last_seq)

    @cached_property
    def judged(self) -> Mapping[Verdict, frozenset[Record]]:
        """The records on which stewards said something since the last decisions, by what counts now."""
        found: dict[Verdict, set[Record]] = {verdict: set() for verdict in Verdict}
        for row in self.decisions("record_id", {record for record, _ in self.said}).to_pylist():
            verdict = self.said.get((row["record_id"], row["kept_id"]))
            counted = row["state"] != PROPOSED or verdict == Verdict.DUPLICATE  # else it stood all the time
            if verdict and counted and row["kind"] not in NO_DECISION:
                found[Verdict(verdict)].add((row["record_id"], row["record_batch"]))
        return {verdict: frozenset(records) for verdict, records in found.items()}

    @cached_property
    def lost(self) -> frozenset[Record]:
        """The records that stand for nothing since the last decisions: their batches are off, or stewards say so."""
        state = self._view.state
        targets = {
            batch for row in state.rows if row.kind == "revoke" and row.seq > self.last_seq for batch in row.targets
        }
        off = sorted(targets & self.batches & state.revoked)
        found = set(self.judged[Verdict.DUPLICATE])
        for table, name in (("documents", "document_id"), ("media", "media_id")):
            rows = self._view.read(table, [name, "batch_id"], off)
            found |= set(zip(rows[name].to_pylist(), rows["batch_id"].to_pylist(), strict=True))
        return frozenset(found)

    @cached_property
    def orphans(self) -> frozenset[Record]:
        """The documents that lost their decisions to a takedown of what stood for them.

        The takedown leaves no trace of whose these were: documents of the same batches are meant that no decision
        names and that stand in no example yet.
        """
        found = self._touched("documents", "document_id")
        ids = {record[0] for record in found}
        named = self.decisions("record_id", ids)["record_id"].to_pylist()
        fused = self._view.lookup("examples", "document_id", ids, ["document_id"])["document_id"].to_pylist()
        return frozenset(record for record in found if record[0] not in {*named, *fused})

    @cached_property
    def orphan_media(self) -> frozenset[Record]:
        """The media that may have lost their decisions so: those of the same batches that no decision names."""
        found = self._touched("media", "media_id")
        ids = {record[0] for record in found}
        named = {one for name in ("record_id", "kept_id") for one in self.decisions(name, ids)[name].to_pylist()}
        return frozenset(record for record in found if record[0] not in named)

    def _touched(self, table: str, name: str) -> set[Record]:
        """Return the records of the batches of which a takedown since the last decisions removed decisions."""
        touched = [row for row in self._ours.values() if self._purged(row)]
        inputs = {item.batch_id for row in touched for item in row.inputs} & self._view.live_ids
        rows = self._view.read(table, [name, "batch_id"], inputs)
        return set(zip(rows[name].to_pylist(), rows["batch_id"].to_pylist(), strict=True))

    def _purged(self, row: Row) -> bool:
        """Tell whether a takedown since the last decisions removed some of a batch's."""
        state = self._view.state
        since = [other for other in state.published.values() if other.stage == PURGE and other.seq > self.last_seq]
        return bool(since) and bool(state.removed.get(row.batch_id, {}).get(("duplicates", ""), 0))


def documents(rows: pa.Table) -> list[Version]:
    """Read document rows (see DOCUMENT) as versions."""
    return [
        Version(
            (row["document_id"], row["batch_id"]), row["url"], row["text_sha256"], row["fetched_at"], row["page_id"]
        )
        for row in rows.select(DOCUMENT).to_pylist()
    ]


def media(rows: pa.Table) -> list[Version]:
    """Read media rows (see MEDIUM) as versions, one for each medium and batch: at the first of its URLs."""
    found: dict[Record, Version] = {}
    ordered = sorted(rows.select(MEDIUM).to_pylist(), key=lambda row: (row["fetched_at"], row["url"]), reverse=True)
    for row in ordered:
        record = (row["media_id"], row["batch_id"])
        found[record] = Version(record, row["url"], row["media_id"], row["fetched_at"], row["page_id"])
    return list(found.values())
