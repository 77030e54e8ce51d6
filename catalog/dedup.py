"""The dedup stage: decisions over documents, pictures and recordings, with what embed and transcribe made of them.

Decisions never delete: readers leave out what `catalog.verdicts.set_aside` names.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from catalog import near, pictures, pipeline, schema, semantic, sounds, verdicts
from catalog.decided import DOCUMENT, MEDIUM, Decided, documents, media
from catalog.decisions import (
    REVIEW,
    Alike,
    Known,
    Match,
    Record,
    Verdict,
    Version,
    decide,
    judge,
    superseded,
)
from catalog.errors import CommitConflict
from catalog.home import Home, Input, Plan, View
from catalog.ids import make_id
from catalog.neighbours import Neighbours
from catalog.publish import Batch
from catalog.settings import Config, DedupSettings, Resources
from catalog.stage import Stage, StageReport

REFUSAL = ["record_id", "url", "reason", "batch_id"]
ATTEMPTS = 20
GROUP = 20_000  # documents and media decided about at once, so that memory does not grow with what is waiting
PURGE = "takedown"  # the method of what came back because a takedown removed what stood for it
Decisions: TypeAlias = list[dict[str, Any]]


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
    """Decides over pending batches at once, looking only at records that a decision about them may touch."""

    def __init__(self, home: Home, config: Config) -> None:
        self._home = home
        self._view = home.view()
        self._settings = config.catalog.dedup
        self._methods = methods(config)
        self._decided = Decided(self._view, DEDUP.name, pipeline.recipe(DEDUP, config))

    def plan(self, batches: list[Batch]) -> Plan:
        """Decide about the documents and media of these extract batches."""
        ids = {batch.batch_id for batch in batches}
        new = self._view.read("documents", DOCUMENT, ids)
        rows = [*self._about_documents(documents(new), ids), *self._about_media(ids)]
        table = pa.Table.from_pylist(
            [{**row, "decision_id": make_id(row["record_id"], row["record_batch"], row["kind"])} for row in rows],
            schema=schema.body("duplicates").append(pa.field("decision_id", pa.string())),
        )
        counts = {item["values"]: item["counts"] for item in new["batch_id"].value_counts().to_pylist()}
        inputs = tuple(Input(batch, counts.get(batch.batch_id, 0)) for batch in batches)
        return Plan(inputs, table, "decision_id", part_rows=50_000, seq=self._view.seq)

    def _about_documents(self, fresh: list[Version], ids: set[str]) -> Decisions:
        decided = self._decided
        withdrawn = opt_outs(self._view, self._view.read("rejects", REFUSAL, ids))
        others = decided.documents("url", {item.url for item in [*fresh, *withdrawn]}, ids)
        others |= decided.documents("text_sha256", {item.content for item in fresh}, ids)
        before = decided.known(others)
        gone = superseded([*fresh, *others.values(), *withdrawn], before.superseded).keys()
        back = decided.dropped_for((gone & others.keys()) | decided.lost) | decided.orphans | self._returned().keys()
        again = decided.documents("document_id", {record[0] for record in back}, ids)
        again = {record: item for record, item in again.items() if record in back}
        others |= again
        alike, met = self._alike([item for item in [*fresh, *again.values()] if item.record not in gone], ids)
        others |= {item.record: item for item in met if item.record[1] not in ids}
        return decide(fresh, others.values(), self._known(others, fresh), alike, withdrawn)

    def _about_media(self, ids: set[str]) -> Decisions:
        new = self._view.read("media", MEDIUM, ids)
        decisions: Decisions = []
        for kind in ("image", "audio"):
            if kind in self._methods:
                decisions += self._about_kind(kind, media(new.filter(pc.equal(new["kind"], kind))), ids)
        return decisions

    def _about_kind(self, kind: str, fresh: list[Version], ids: set[str]) -> Decisions:
        """Decide about pictures or recordings; a medium that was decided about before is told the same again.

        Those that a takedown may have left without a decision are judged like new ones: if nothing stands for one, it
        stands already.
        """
        decided = self._decided
        back = decided.dropped_for(decided.lost) | self._returned().keys() | decided.orphan_media
        again = decided.media(kind, {record[0] for record in back}, ids)
        fresh = [*fresh, *(item for record, item in again.items() if record in decided.orphan_media)]
        asked = {item.content for item in fresh} | {record[0] for record in again if record in back}
        if not asked:
            return []
        alike = Alike()
        for one, other, match in self._matches(kind, asked, ids):
            alike.add(one, other, match)
        others = decided.media(kind, asked | alike.matches.keys(), ids)
        ids_in_play = asked | {record[0] for record in others}
        size = (pictures.sizes if kind == "image" else sounds.durations)(self._view, ids_in_play)
        known = {**others, **{item.record: item for item in fresh}}.values()
        sized = [replace(item, size=size.get(item.content, 0)) for item in known]
        return judge(sized, {item.record for item in fresh}, self._known(others, fresh), alike)

    def _matches(self, kind: str, asked: set[str], ids: set[str]) -> Iterable[tuple[str, str, Match]]:
        if kind == "audio":
            made = self._view.state.made_from
            transcribed = {
                name for batch in self._decided.batches | ids for name in made.get(("transcribe", batch), ())
            }
            live = transcribed & self._view.live_ids
            return sounds.matches(self._home.root, self._view, self._settings, asked, live)
        at_least = self._settings.image_verify
        return pictures.matches(self._view, self._nearby("image_features", asked, at_least), self._settings)

    def _nearby(self, table: str, asked: Collection[str], at_least: float) -> list[Any]:
        found = Neighbours(self._home.root, self._view, self._home.settings.vectors, table)
        return list(found.near(asked, at_least, self._decided.keepers))

    def _returned(self) -> dict[Record, str]:
        """Return the records to be decided about again, and because of what."""
        returned = dict.fromkeys(self._decided.orphans, PURGE)
        return returned | dict.fromkeys(self._decided.judged[Verdict.DISTINCT], REVIEW)

    def _known(self, others: Mapping[Record, Version], fresh: Iterable[Version]) -> Known:
        known = self._decided.known(others, self._decided.lost)
        returned = {record: why for record, why in self._returned().items() if record in others}
        standing = {record: why for record, why in returned.items() if record not in known.discarded}
        apart = verdicts.apart(self._view, {item.record[0] for item in [*others.values(), *fresh]})
        return replace(known, returned=standing, apart=apart)

    def _alike(self, asked: Sequence[Version], ids: Collection[str]) -> tuple[Alike, list[Version]]:
        """Find what is alike to one document of each text; return it with the documents that were met."""
        ordered = sorted(asked, key=lambda item: item.precedence, reverse=True)
        first = {item.content: item.record for item in ordered}
        alike, met = Alike(), []
        if "minhash" in self._methods:
            met += self._by_words(alike, set(first.values()), ids)
        if "semantic" in self._methods:
            met += self._by_meaning(alike, first, ids)
        return alike, met

    def _by_words(self, alike: Alike, records: set[Record], ids: Collection[str]) -> list[Version]:
        index = near.open_index(self._home.root, self._settings)
        live = [batch.batch_id for batch in self._view.live("extract")]
        index.refresh(self._view, [batch for batch in live if batch in self._decided.batches or batch in ids])
        scores, rows = near.search(index, records, self._settings)
        for one, others in scores.items():
            for other, score in others.items():
                alike.add(one, other, Match("minhash", "minhash", score, self._settings.threshold))
        return documents(rows)

    def _by_meaning(self, alike: Alike, first: Mapping[str, Record], ids: Collection[str]) -> list[Version]:
        asked = {record[0]: content for content, record in first.items()}
        nearby = self._nearby("text_features", asked.keys(), self._settings.semantic_propose)
        others = self._decided.documents("document_id", {item.other for item in nearby} - asked.keys(), ids)
        contents = {**{record[0]: item.content for record, item in others.items()}, **asked}
        known = [item for item in nearby if item.other in contents]
        for one, other, match in semantic.matches(self._view, known, self._settings):
            alike.add(contents[one], contents[other], match)
        return list(others.values())


def run(home: Home, config: Config) -> StageReport:
    """Decide over every extract batch that no dedup batch has seen, a bounded number of records at a time."""
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
    """Return the oldest batches, at least one, that hold no more than GROUP documents and media together."""
    total = 0
    for count, batch in enumerate(batches):
        total += batch.outputs.get("documents", 0) + batch.outputs.get("media", 0)
        if count and total > GROUP:
            return batches[:count]
    return batches


METHODS: dict[str, tuple[str, ...]] = {
    "minhash": (
        "threshold", "num_bands", "rows_per_band", "shingle_words", "shingle_chars", "keep_lookalikes", "languages",
    ),
    "semantic": ("semantic_threshold", "semantic_propose", "keep_lookalikes"),
    "image": (
        "phash_distance", "image_verify", "image_threshold", "image_correlation", "image_propose", "image_turned",
    ),
    "audio": ("audio_threshold",),
}  # fmt: skip
NEEDS = {"semantic": "embed", "image": "embed", "audio": "transcribe"}


def methods(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the methods beside equal texts and URLs that a configuration uses, with the settings of each."""
    found: DedupSettings = config.catalog.dedup
    wanted = {"minhash": found.minhash, "semantic": found.semantic, "image": found.images, "audio": found.audio}
    stages = config.catalog.stages
    return {name: METHODS[name] for name, on in wanted.items() if on and NEEDS.get(name, "dedup") in stages}


def _settings(config: Config) -> Mapping[str, object]:
    used = methods(config)
    names = {name for settings in used.values() for name in settings}
    values = config.catalog.dedup.model_dump(include=names)
    version = {"minhash_version": near.version()} if "minhash" in used else {}
    return {"methods": ["url", "sha256", *used], **values, **version}


RESOURCES = Resources(cpus=1.0)
DEDUP = Stage(
    name="dedup",
    reads=("extract",),
    tables=("duplicates",),
    result_version=5,
    settings=_settings,
    run=run,
    waits_for=("embed", "transcribe"),
    joins=True,
    alone=True,
)
