"""Decide which records stand for others, pure: older versions of a URL, equal texts, and records that are alike.

A decision names a record by (id, batch), so that the same text fetched again later is judged anew, and it names a kept
record that was compared with it, never one that was set aside itself. What a steward says of two ids beats it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

import pyarrow as pa

Record: TypeAlias = tuple[str, str]  # (id, the batch that its row stands in)
Pair: TypeAlias = frozenset[str]  # two ids
Verdicts: TypeAlias = Mapping[tuple[str, str], str]  # (record id, kept id) → what a steward said last
DECIDED, PROPOSED = "decided", "proposed"
REVIEW = "review"  # the method of what a verdict brought back
NO_DECISION = ("superseded", "kept")  # kinds that no steward takes back


class Verdict(StrEnum):
    """What a steward says of two records."""

    DUPLICATE = "duplicate"
    DISTINCT = "distinct"
    WITHDRAWN = "withdrawn"  # nothing any more: what dedup says counts again


@dataclass(frozen=True)
class Version:
    """One row of a document or a medium, as far as deduplication looks at it."""

    record: Record
    url: str
    content: str  # what equal records share: the hash of a text, the id of a medium
    fetched_at: datetime
    page_id: str
    size: int = 0  # of a medium: pixels, or milliseconds

    @property
    def age(self) -> tuple[datetime, str, str]:
        """Order of versions of one URL: the greatest is current."""
        return (self.fetched_at, self.page_id, self.record[1])

    @property
    def precedence(self) -> tuple[int, datetime, str, Record]:
        """Order of records at different URLs: the least is kept, of media that come together the largest."""
        return (-self.size, self.fetched_at, self.url, self.record)


@dataclass(frozen=True)
class Match:
    """Why two records are taken for one, or are shown to a steward."""

    kind: str  # minhash | semantic | image | audio
    method: str
    score: float
    threshold: float
    model: str = ""
    revision: str = ""
    proposed: bool = False

    @property
    def strength(self) -> tuple[bool, bool, float]:
        """Order of matches: the greatest decides. Shared words weigh more than like vectors."""
        return (not self.proposed, not self.model, self.score)


@dataclass
class Alike:
    """What is alike among the contents in question, both ways: content → content → why."""

    matches: dict[str, dict[str, Match]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, one: str, other: str, match: Match) -> None:
        """Note a match of two contents; the strongest counts."""
        held = self.matches[one].get(other)
        if one != other and (held is None or match.strength > held.strength):
            self.matches[one][other] = self.matches[other][one] = match


@dataclass(frozen=True)
class Known:
    """What earlier decisions, and stewards, say about some records."""

    superseded: frozenset[Record] = frozenset()
    discarded: Mapping[Record, frozenset[Record]] = field(default_factory=dict)  # with what they were discarded for
    lost: frozenset[Record] = frozenset()  # rows that stand for nothing any more: gone, or set aside by a steward
    returned: Mapping[Record, str] = field(default_factory=dict)  # rows to be decided about again, and because of what
    apart: frozenset[Pair] = frozenset()  # ids that a steward called distinct


def decide(
    new: Iterable[Version],
    others: Iterable[Version],
    known: Known,
    alike: Alike | None = None,
    withdrawn: Iterable[Version] = (),
) -> list[dict[str, Any]]:
    """Return decisions about `new` documents and the live `others` that share a URL or a text with them, or are alike.

    Of one URL the version with the greatest (fetched_at, page_id) stays, the rest are `superseded`; `withdrawn` are
    pages without a document, whose owner has opted out: they supersede what came before them. What is current is then
    judged (see `judge`).
    """
    fresh = {version.record for version in new}
    versions = {version.record: version for version in [*others, *new]}
    every = superseded([*versions.values(), *withdrawn], known.superseded)
    older = {record: kept for record, kept in every.items() if record in versions}
    gone = older.keys() | known.superseded
    current = [item for item in versions.values() if item.record not in gone]
    match = Match("superseded", "url", 1.0, 1.0)
    decisions = [_decision(record, kept, match) for record, kept in older.items()]
    return _sorted([*decisions, *judge(current, fresh, known, alike or Alike(), gone)])


def judge(
    current: Iterable[Version],
    fresh: Collection[Record],
    known: Known,
    alike: Alike,
    gone: Collection[Record] = frozenset(),
) -> list[dict[str, Any]]:
    """Return decisions about those of the `current` records that are `fresh`, or whose keepers are `gone` or lost.

    Of equal contents the one kept so far stays, else the first; the rest are `exact`. One that is alike to kept ones
    but equal to none names that of the strongest match; a match that is only proposed leaves it kept. A `kept` row
    takes the decisions about one back that was discarded before.
    """
    away = {*gone, *known.lost}
    again = dict.fromkeys((record for record, kept in known.discarded.items() if kept <= away), "sha256")
    again |= known.returned
    ordered = sorted(current, key=lambda item: item.precedence)
    open_ = {*fresh, *known.discarded, *known.returned}
    kept: dict[str, Version] = {}
    for item in ordered:
        if item.record not in open_:
            kept.setdefault(item.content, item)
    decisions = []
    for item in ordered:
        if item.record not in fresh and item.record not in again:
            continue
        keeper, match = _keeper(item, kept, alike, known.apart)
        if keeper and match:
            decisions.append(_decision(item.record, keeper.record, match))
        if not match or match.proposed:
            kept.setdefault(item.content, item)
            if item.record in again:
                decisions.append(_decision(item.record, item.record, Match("kept", again[item.record], 1.0, 1.0)))
    return _sorted(decisions)


def superseded(versions: Iterable[Version], known: frozenset[Record]) -> dict[Record, Record]:
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


EXACT = Match("exact", "sha256", 1.0, 1.0)


def _keeper(
    item: Version, kept: Mapping[str, Version], alike: Alike, apart: frozenset[Pair]
) -> tuple[Version | None, Match | None]:
    """Return the kept record that a record resembles most, and why; None where there is none."""

    def allowed(other: Version) -> bool:
        return frozenset((item.record[0], other.record[0])) not in apart

    equal = kept.get(item.content)
    if equal and equal.record[0] == item.record[0]:
        return equal, None  # one medium at two places is no duplicate of itself
    if equal and allowed(equal):
        return equal, EXACT
    found = [
        (match, kept[other])
        for other, match in alike.matches.get(item.content, {}).items()
        if other in kept and allowed(kept[other])
    ]
    if not found:
        return None, None
    best = max(match.strength for match, _ in found)
    keeper, match = min(
        ((other, match) for match, other in found if match.strength == best), key=lambda one: one[0].precedence
    )
    return keeper, match


def _decision(record: Record, kept: Record, match: Match) -> dict[str, Any]:
    return {
        "record_id": record[0],
        "record_batch": record[1],
        "kept_id": kept[0],
        "kept_batch": kept[1],
        "kind": match.kind,
        "score": match.score,
        "threshold": match.threshold,
        "method": match.method,
        "model": match.model,
        "revision": match.revision,
        "state": PROPOSED if match.proposed else DECIDED,
    }


def _sorted(decisions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(decisions, key=lambda row: (row["record_id"], row["record_batch"], row["kind"]))


def known(duplicates: pa.Table, verdicts: Verdicts | None = None) -> Known:
    """Read decisions, and what stewards said of them.

    A record is set aside if it is superseded; if a steward called it a duplicate of what it was compared with; or if it
    was decided to be one, no steward called the two distinct, and no `kept` row takes it back. A proposal sets nothing
    aside by itself. A `kept` row that came of a verdict counts as long as that verdict.
    """
    rows: dict[Record, list[dict[str, Any]]] = defaultdict(list)
    for row in duplicates.to_pylist():
        rows[row["record_id"], row["record_batch"]].append(row)
    older = frozenset(record for record, told in rows.items() if any(row["kind"] == "superseded" for row in told))
    discarded = {
        record: kept
        for record, told in rows.items()
        if record not in older and (kept := _keepers(record[0], told, verdicts or {}))
    }
    return Known(older, discarded)


def _keepers(record: str, rows: Iterable[Mapping[str, Any]], verdicts: Verdicts) -> frozenset[Record]:
    """Return the records that stand for one by its decisions and the verdicts on them, none if it stands itself."""
    back: set[str] = set()
    counted: set[Record] = set()
    agreed: set[Record] = set()
    said: set[str | None] = set()
    for row in rows:
        if row["kind"] == "kept":
            back.add(row["method"])
            continue
        verdict = verdicts.get((record, row["kept_id"]))
        said.add(verdict)
        kept = (row["kept_id"], row["kept_batch"])
        if verdict == Verdict.DUPLICATE:
            agreed.add(kept)
        elif verdict != Verdict.DISTINCT and row["state"] != PROPOSED:
            counted.add(kept)
    if back - {REVIEW} or (REVIEW in back and Verdict.DISTINCT in said):
        counted.clear()
    return frozenset(counted | agreed)


def discarded(duplicates: pa.Table, verdicts: Verdicts | None = None) -> frozenset[Record]:
    """Return the (id, batch) pairs that readers skip, by these decisions and verdicts (see `known`)."""
    found = known(duplicates, verdicts)
    return found.superseded | found.discarded.keys()
