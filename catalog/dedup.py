"""Decide which documents stand for others: older versions of a URL, equal texts at other URLs, near-duplicate texts.

A decision names a row by (id, batch), so the same text fetched again later is judged anew, and it names a kept row that
was compared with it, never one that was set aside itself. Decisions never delete: readers anti-join `discarded`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import near, pipeline, schema
from catalog.errors import CommitConflict
from catalog.home import Home, Input, Plan, View
from catalog.ids import make_id
from catalog.publish import Batch
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

COLUMNS = ["document_id", "batch_id", "url", "text_sha256", "fetched_at", "page_id"]
REFUSAL = ["record_id", "url", "reason", "batch_id"]
ATTEMPTS = 20
GROUP = 20_000  # documents decided about at once, so that memory does not grow with what is waiting
Record: TypeAlias = tuple[str, str]  # (id, the batch that its row stands in)


@dataclass(frozen=True)
class Version:
    """One document row, as far as deduplication looks at it."""

    record: Record
    url: str
    text_sha256: str
    fetched_at: datetime
    page_id: str

    @property
    def age(self) -> tuple[datetime, str, str]:
        """Order of versions of one URL: the greatest is current."""
        return (self.fetched_at, self.page_id, self.record[1])

    @property
    def precedence(self) -> tuple[datetime, str, Record]:
        """Order of documents at different URLs: the least is kept."""
        return (self.fetched_at, self.url, self.record)


@dataclass(frozen=True)
class Known:
    """What earlier decisions say about some records."""

    superseded: frozenset[Record] = frozenset()
    discarded: Mapping[Record, frozenset[Record]] = field(default_factory=dict)  # with what they were discarded for
    lost: frozenset[Record] = frozenset()  # rows that nobody reads any more, their batches being off


@dataclass(frozen=True)
class Alike:
    """Near-duplicate texts among those in question: text → texts with their scores, both ways."""

    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    threshold: float = 1.0


def decide(
    new: Iterable[Version],
    others: Iterable[Version],
    known: Known,
    alike: Alike | None = None,
    withdrawn: Iterable[Version] = (),
) -> list[dict[str, Any]]:
    """Return decisions about `new` documents and the live `others` that share a URL or a text with them, or are alike.

    Of one URL the version with the greatest (fetched_at, page_id) stays, the rest are `superseded`; `withdrawn` are
    pages without a document, whose owner has opted out: they supersede what came before them. Of equal texts
    the one kept so far stays, else the first fetched; the rest are `exact`. A text that is alike to kept ones but equal
    to none is `minhash` to the most similar. Where what was kept went away, for instance with its URL's older version,
    the documents that were dropped for it are considered again; a `kept` row takes the decisions about one back.
    """
    alike = alike or Alike()
    fresh = {version.record for version in new}
    versions = {version.record: version for version in [*others, *new]}
    every = _superseded([*versions.values(), *withdrawn], known.superseded)
    superseded = {record: kept for record, kept in every.items() if record in versions}
    gone = superseded.keys() | known.superseded
    decisions = [_decision(record, kept, "superseded", "url") for record, kept in superseded.items()]
    away = gone | known.lost
    again = {record for record, kept in known.discarded.items() if kept <= away}
    current = sorted((item for item in versions.values() if item.record not in gone), key=lambda item: item.precedence)
    kept: dict[str, Version] = {}
    for item in current:
        if item.record not in fresh and item.record not in known.discarded:
            kept.setdefault(item.text_sha256, item)
    for item in current:
        if item.record not in fresh and item.record not in again:
            continue
        keeper, score = _keeper(item.text_sha256, kept, alike)
        if keeper is None:
            kept[item.text_sha256] = item
            if item.record in again:
                decisions.append(_decision(item.record, item.record, "kept", "sha256"))
        elif keeper.text_sha256 == item.text_sha256:
            decisions.append(_decision(item.record, keeper.record, "exact", "sha256"))
        else:
            decisions.append(_decision(item.record, keeper.record, "minhash", "minhash", score, alike.threshold))
    return sorted(decisions, key=lambda row: (row["record_id"], row["record_batch"], row["kind"]))


def _superseded(versions: Iterable[Version], known: frozenset[Record]) -> dict[Record, Record]:
    """Return the versions that are not their URL's current one, with that; those that are `known` are left out."""
    by_url: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        by_url[version.url].append(version)
    found = {}
    for same in by_url.values():
        current = max(same, key=lambda version: version.age)
        for version in same:
            if version is not current and version.record not in known:
                found[version.record] = current.record
    return found


def _keeper(text: str, kept: Mapping[str, Version], alike: Alike) -> tuple[Version | None, float]:
    """Return the kept document that stands for a text, its score with it; None if none does."""
    if text in kept:
        return kept[text], 1.0
    found = [
        (-score, kept[other].precedence, other) for other, score in alike.scores.get(text, {}).items() if other in kept
    ]
    if not found:
        return None, 0.0
    score, _, other = min(found)
    return kept[other], -score


def _decision(
    record: Record, kept: Record, kind: str, method: str, score: float = 1.0, threshold: float = 1.0
) -> dict[str, Any]:
    return {
        "record_id": record[0],
        "record_batch": record[1],
        "kept_id": kept[0],
        "kept_batch": kept[1],
        "kind": kind,
        "score": score,
        "threshold": threshold,
        "method": method,
    }


def discarded(duplicates: pa.Table) -> frozenset[Record]:
    """Return the (id, batch) pairs that readers skip: superseded ones, and others unless a `kept` row takes it back."""
    kinds: dict[Record, set[str]] = defaultdict(set)
    columns = (duplicates[name].to_pylist() for name in ("record_id", "record_batch", "kind"))
    for record_id, batch, kind in zip(*columns, strict=True):
        kinds[record_id, batch].add(kind)
    return frozenset(record for record, seen in kinds.items() if "superseded" in seen or "kept" not in seen)


def known(duplicates: pa.Table, lost: frozenset[Record] = frozenset()) -> Known:
    """Read earlier decisions."""
    away = discarded(duplicates)
    superseded: set[Record] = set()
    kept: dict[Record, set[Record]] = defaultdict(set)
    for row in duplicates.to_pylist():
        record = (row["record_id"], row["record_batch"])
        if row["kind"] == "superseded":
            superseded.add(record)
        elif record in away:
            kept[record].add((row["kept_id"], row["kept_batch"]))
    return Known(frozenset(superseded), {record: frozenset(to) for record, to in kept.items()}, lost)


def versions(rows: pa.Table) -> list[Version]:
    """Read document rows as versions."""
    return [
        Version(
            (row["document_id"], row["batch_id"]), row["url"], row["text_sha256"], row["fetched_at"], row["page_id"]
        )
        for row in rows.select(COLUMNS).to_pylist()
    ]


def opt_outs(view: View, rejects: pa.Table) -> list[Version]:
    """Return, of `rejects` (REFUSAL), the pages and media that bring nothing because of a right that was reserved."""
    opted = [row for row in rejects.to_pylist() if row["reason"] == schema.Reason.NOAI]
    pages = view.lookup("pages", "page_id", {row["record_id"] for row in opted})
    times = {(row["page_id"], row["batch_id"]): row["fetched_at"] for row in pages.to_pylist()}
    published = view.state.published
    return [
        Version((row["record_id"], row["batch_id"]), row["url"], "", times[row["record_id"], one.batch_id], "")
        for row in opted
        for one in published[row["batch_id"]].inputs
        if (row["record_id"], one.batch_id) in times
    ]


class WriteDecisions:
    """Writes the planned decisions as they are."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        """Drop the planning column."""
        return {"duplicates": part.drop_columns(["decision_id"])}


class Planner:
    """Decides over pending documents at once, looking only at documents that a decision about them may touch."""

    def __init__(self, home: Home, config: Config) -> None:
        self._view = home.view()
        self._settings = config.catalog.dedup
        self._index = near.open_index(home.root, self._settings)
        self._recipe = pipeline.recipe(DEDUP, config)
        self._decided = self._view.state.consumed(DEDUP.name, self._recipe)

    def plan(self, batches: list[Batch]) -> Plan:
        """Decide about the documents of these extract batches."""
        ids = {batch.batch_id for batch in batches}
        new = self._view.read("documents", COLUMNS, ids)
        fresh = versions(new)
        withdrawn = opt_outs(self._view, self._view.read("rejects", REFUSAL, ids))
        others = self._lookup("url", {item.url for item in [*fresh, *withdrawn]}, ids)
        others |= self._lookup("text_sha256", {item.text_sha256 for item in fresh}, ids)
        before = self._known(others)
        superseded = _superseded([*fresh, *others.values(), *withdrawn], before.superseded).keys()
        lost = self._lost()
        again = self._dropped_for((superseded & others.keys()) | lost)
        others |= again
        alike, found = self._alike([item for item in [*fresh, *again.values()] if item.record not in superseded], ids)
        others |= {item.record: item for item in found if item.record[1] not in ids}
        rows = decide(fresh, others.values(), self._known(others, lost), alike, withdrawn)
        table = pa.Table.from_pylist(
            [{**row, "decision_id": make_id(row["record_id"], row["record_batch"], row["kind"])} for row in rows],
            schema=schema.body("duplicates").append(pa.field("decision_id", pa.string())),
        )
        counts = {item["values"]: item["counts"] for item in new["batch_id"].value_counts().to_pylist()}
        inputs = tuple(Input(batch, counts.get(batch.batch_id, 0)) for batch in batches)
        return Plan(inputs, table, "decision_id", part_rows=50_000, seq=self._view.seq)

    def _lookup(self, column: str, values: Iterable[str], ids: Collection[str]) -> dict[Record, Version]:
        """Return documents that were decided about under this recipe."""
        batches = self._decided - set(ids)
        if not batches:
            return {}
        rows = self._view.lookup("documents", column, values, COLUMNS)
        decided = pa.array(sorted(batches), pa.string())
        return {item.record: item for item in versions(rows.filter(pa.compute.is_in(rows["batch_id"], decided)))}

    def _decisions(self, column: str, values: Iterable[str]) -> pa.Table:
        """Look up decisions of this recipe: those of others stay readable until every document was decided anew."""
        live = self._view.state.live.values()
        ours = [row.batch_id for row in live if (row.stage, row.settings_hash) == (DEDUP.name, self._recipe)]
        rows = self._view.lookup("duplicates", column, values)
        return rows.filter(pa.compute.is_in(rows["batch_id"], pa.array(ours, pa.string())))

    def _known(self, others: Mapping[Record, Version], lost: frozenset[Record] = frozenset()) -> Known:
        rows = self._decisions("record_id", {record[0] for record in others})
        keepers = self._decisions("record_id", set(rows["kept_id"].to_pylist()) - {record[0] for record in others})
        found = known(pa.concat_tables([rows, keepers]), lost)
        return Known(found.superseded, {record: to for record, to in found.discarded.items() if record in others}, lost)

    def _lost(self) -> frozenset[Record]:
        """Return the documents of batches that were switched off since the last decisions."""
        state = self._view.state
        last = max((row.seq for row in state.live.values() if row.stage == DEDUP.name), default=0)
        targets = {batch for row in state.rows if row.kind == "revoke" and row.seq > last for batch in row.targets}
        off = sorted(targets & self._decided & state.revoked)
        rows = self._view.read("documents", ["document_id", "batch_id"], off)
        return frozenset(zip(rows["document_id"].to_pylist(), rows["batch_id"].to_pylist(), strict=True))

    def _dropped_for(self, records: Collection[Record]) -> dict[Record, Version]:
        rows = self._decisions("kept_id", {record[0] for record in records}).to_pylist()
        dropped = {(r["record_id"], r["record_batch"]) for r in rows if (r["kept_id"], r["kept_batch"]) in records}
        found = self._lookup("document_id", {record[0] for record in dropped}, ())
        return {record: item for record, item in found.items() if record in dropped}

    def _alike(self, asked: Sequence[Version], ids: Collection[str]) -> tuple[Alike, list[Version]]:
        """Find the near-duplicates of one document of each text; return them with the documents that were met."""
        if not self._settings.minhash:
            return Alike(), []
        live = [batch.batch_id for batch in self._view.live("extract")]
        self._index.refresh(self._view, [batch for batch in live if batch in self._decided or batch in ids])
        first = {
            item.text_sha256: item.record for item in sorted(asked, key=lambda item: item.precedence, reverse=True)
        }
        scores, rows = near.search(self._index, set(first.values()), self._settings)
        return Alike(scores, self._settings.threshold), versions(rows)


def run(home: Home, config: Config) -> StageReport:
    """Decide over every extract batch that no dedup batch has seen, a bounded number of documents at a time."""
    report = StageReport(DEDUP.name)
    while batches := home.todo(DEDUP, config):
        report.add(_publish(home, config, batches))
    return report


def _publish(home: Home, config: Config, batches: list[Batch]) -> StageReport:
    """Publish decisions over the first batches; plan again if another run came between."""
    resources = config.resources("dedup", RESOURCES)
    for _ in range(ATTEMPTS):
        group = _first(batches)
        try:
            return home.publish(DEDUP, config, [Planner(home, config).plan(group)], WriteDecisions, resources)
        except CommitConflict:
            batches = home.todo(DEDUP, config)
            if not batches:
                return StageReport(DEDUP.name)
    raise CommitConflict(f"dedup: other runs came between {ATTEMPTS} times; run fewer drivers on this home")


def _first(batches: list[Batch]) -> list[Batch]:
    """Return the oldest batches, at least one, that hold no more than GROUP documents together."""
    total = 0
    for count, batch in enumerate(batches):
        total += batch.outputs.get("documents", 0)
        if count and total > GROUP:
            return batches[:count]
    return batches


def _settings(config: Config) -> Mapping[str, object]:
    found = config.catalog.dedup
    methods: dict[str, object] = {"methods": ["url", "sha256", *(["minhash"] if found.minhash else [])]}
    return {**methods, **near.settings_of(found)} if found.minhash else methods


RESOURCES = Resources(cpus=1.0)
DEDUP = Stage(
    name="dedup",
    reads=("extract",),
    tables=("duplicates",),
    result_version=3,
    settings=_settings,
    run=run,
    joins=True,
    alone=True,
)
