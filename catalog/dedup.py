"""Decide which documents stand for others: older versions of a URL, and equal texts at other URLs.

A decision names a row by (id, batch), so the same text fetched again later is judged anew. Decisions never delete:
readers anti-join `discarded`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from catalog import schema
from catalog.errors import CommitConflict
from catalog.home import Home, Input, Plan, View
from catalog.ids import make_id
from catalog.publish import Batch
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

COLUMNS = ["document_id", "batch_id", "url", "text_sha256", "fetched_at", "page_id"]
ATTEMPTS = 20
Record = tuple[str, str]  # (id, the batch that its row stands in)


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


@dataclass(frozen=True)
class Known:
    """What earlier decisions say about some records."""

    superseded: frozenset[Record]
    discarded: frozenset[Record]


def decide(new: Iterable[Version], others: Iterable[Version], known: Known) -> list[dict[str, Any]]:
    """Return decisions about `new` documents and the live `others` that share a URL or a text with them.

    Of one URL the version with the greatest (fetched_at, page_id) stays, the rest are `superseded`. Of equal texts
    the one kept so far stays, else the first fetched; the rest are `exact`. Where a kept text went away with its
    URL's older version, the duplicates that were dropped for it are considered again; a `kept` row takes the
    earlier decision about the first of them back.
    """
    fresh = {version.record for version in new}
    versions = {version.record: version for version in [*others, *new]}
    superseded = _superseded(versions.values(), known)
    gone = superseded.keys() | known.superseded
    decisions = [_decision(record, kept, "superseded") for record, kept in superseded.items()]
    by_text: dict[str, list[Version]] = defaultdict(list)
    for version in versions.values():
        if version.record not in gone:
            by_text[version.text_sha256].append(version)
    for same in by_text.values():
        decisions += _exact(same, fresh, known)
    return sorted(decisions, key=lambda row: (row["record_id"], row["record_batch"], row["kind"]))


def _superseded(versions: Iterable[Version], known: Known) -> dict[Record, Record]:
    by_url: dict[str, list[Version]] = defaultdict(list)
    for version in versions:
        by_url[version.url].append(version)
    found = {}
    for same in by_url.values():
        current = max(same, key=lambda version: version.age)
        for version in same:
            if version is not current and version.record not in known.superseded:
                found[version.record] = current.record
    return found


def _exact(same: list[Version], fresh: set[Record], known: Known) -> list[dict[str, Any]]:
    """Choose the one to keep among documents of equal text at different URLs."""
    same = sorted(same, key=lambda version: (version.fetched_at, version.url, version.record))
    standing = [version for version in same if version.record not in fresh and version.record not in known.discarded]
    keeper = (standing or same)[0]
    decisions = []
    if keeper.record in known.discarded:
        decisions.append(_decision(keeper.record, keeper.record, "kept"))
    for version in same:
        if version is not keeper and version.record not in known.discarded:
            decisions.append(_decision(version.record, keeper.record, "exact"))
    return decisions


def _decision(record: Record, kept: Record, kind: str) -> dict[str, Any]:
    return {
        "record_id": record[0],
        "record_batch": record[1],
        "kept_id": kept[0],
        "kept_batch": kept[1],
        "kind": kind,
        "score": 1.0,
        "threshold": 1.0,
        "method": "url" if kind == "superseded" else "sha256",
    }


def discarded(duplicates: pa.Table) -> frozenset[Record]:
    """Return the (id, batch) pairs that readers skip: superseded ones, and others unless a `kept` row takes it back."""
    kinds: dict[Record, set[str]] = defaultdict(set)
    columns = (duplicates[name].to_pylist() for name in ("record_id", "record_batch", "kind"))
    for record_id, batch, kind in zip(*columns, strict=True):
        kinds[record_id, batch].add(kind)
    return frozenset(record for record, seen in kinds.items() if "superseded" in seen or "kept" not in seen)


def versions(rows: pa.Table) -> list[Version]:
    """Read document rows as versions."""
    return [
        Version(
            (row["document_id"], row["batch_id"]), row["url"], row["text_sha256"], row["fetched_at"], row["page_id"]
        )
        for row in rows.select(COLUMNS).to_pylist()
    ]


class WriteDecisions:
    """Writes the planned decisions as they are."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        """Drop the planning column."""
        return {"duplicates": part.drop_columns(["decision_id"])}


def plan(view: View, batches: list[Batch]) -> Plan:
    """Decide over all pending documents at once, looking only at live documents that share a URL or a text."""
    ids = [batch.batch_id for batch in batches]
    new = view.read("documents", COLUMNS, ids)
    made_like = {batch.batch_id for batch in view.live("extract")}
    others: dict[Record, Version] = {}
    for column in ("url", "text_sha256"):
        found = view.lookup("documents", column, new[column].to_pylist(), COLUMNS)
        others |= {v.record: v for v in versions(found) if v.record[1] in made_like and v.record[1] not in set(ids)}
    # equal texts of a version that is about to be superseded come into play again
    texts = {version.text_sha256 for version in others.values()}
    again = versions(view.lookup("documents", "text_sha256", texts, COLUMNS))
    others |= {v.record: v for v in again if v.record[1] in made_like and v.record[1] not in set(ids)}
    rows = decide(versions(new), others.values(), _known(view, others))
    table = pa.Table.from_pylist(
        [{**row, "decision_id": make_id(row["record_id"], row["record_batch"], row["kind"])} for row in rows],
        schema=schema.body("duplicates").append(pa.field("decision_id", pa.string())),
    )
    counts = {item["values"]: item["counts"] for item in new["batch_id"].value_counts().to_pylist()}
    inputs = tuple(Input(batch, counts.get(batch.batch_id, 0)) for batch in batches)
    return Plan(inputs, table, "decision_id", part_rows=50_000, seq=view.seq)


def _known(view: View, others: Mapping[Record, Version]) -> Known:
    rows = view.lookup("duplicates", "record_id", {record[0] for record in others})
    old = rows.filter(pa.compute.equal(rows["kind"], "superseded"))
    superseded = zip(old["record_id"].to_pylist(), old["record_batch"].to_pylist(), strict=True)
    return Known(frozenset(superseded), discarded(rows))


def run(home: Home, config: Config) -> StageReport:
    """Decide over every extract batch that no dedup batch has seen; plan again if another run came between."""
    resources = config.resources("dedup", RESOURCES)
    for _ in range(ATTEMPTS):
        batches = home.todo(DEDUP, config)
        if not batches:
            return StageReport("dedup")
        try:
            return home.publish(DEDUP, config, [plan(home.view(), batches)], WriteDecisions, resources)
        except CommitConflict:
            continue
    raise CommitConflict(f"dedup: other runs came between {ATTEMPTS} times; run fewer drivers on this home")


RESOURCES = Resources(cpus=1.0)
DEDUP = Stage(
    name="dedup",
    reads=("extract",),
    tables=("duplicates",),
    result_version=1,
    settings=lambda config: {"methods": ["url", "sha256"]},
    run=run,
    joins=True,
    alone=True,
)
