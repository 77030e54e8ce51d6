"""What one fuse batch works on: its documents, and earlier ones that it changes."""

from collections.abc import Set
from typing import Any, TypeAlias

import pyarrow as pa

from catalog.dedup import REFUSAL, opt_outs
from catalog.home import View
from catalog.ledger import PURGE
from catalog.publish import Batch, Input, Plan
from catalog.verdicts import set_aside
from multimodal.fuse import INPUTS, fused_id, resolve_media
from multimodal.newest import pictures_of, speech_of
from multimodal.settings import FuseSettings
from multimodal.splits import Earlier, Place, assign

Row: TypeAlias = dict[str, Any]
DOCUMENT = [
    "document_id", "batch_id", "url", "source", "source_class", "fetched_at", "language", "text", "blocks", "media",
    "licence",
]  # fmt: skip
EARLIER = ["example_id", "document_id", "url", "cluster_id", "split", "fetched_at", "batch_id"]
PART_ROWS = 500


class Planner:
    """Plans the extract batches of one run; `done` are those fused before, `template` is `fuse.template_id`."""

    def __init__(self, view: View, settings: FuseSettings, template: str, done: Set[str]) -> None:
        self._view = view
        self._settings = settings
        self._template = template
        self._done = done
        self._taken_down = _taken_down_since(view)

    def plan(self, batch: Batch) -> Plan:
        """Plan one batch: its current documents, then documents of the batches done before that it changes."""
        view = self._view
        documents = view.read("documents", DOCUMENT, [batch.batch_id]).to_pylist()
        ours = {row["document_id"] for row in documents}
        current = _current(view, documents)
        changed = {row["document_id"]: row for row in [*self._without_example(), *_touched(view, batch, self._done)]}
        touched = [row for row in changed.values() if row["document_id"] not in ours]
        together = [*current, *touched]
        fused = _earlier(view, "url", {row["url"] for row in together})
        places = _places(view, together, fused, self._settings)
        media = _media(view, together)
        known = _newest(view, fused)
        rows = []
        for row in together:
            resolved = resolve_media(row["media"] or (), *media)
            if row["document_id"] in ours or fused_id(row["document_id"], resolved, self._template) not in known:
                rows.append(_input(row, resolved, places[row["document_id"]]))
        counts = Input(batch, len(documents), num_skipped=len(documents) - len(current))
        return Plan((counts,), pa.Table.from_pylist(rows, schema=INPUTS), "document_id", PART_ROWS)

    def _without_example(self) -> list[Row]:
        """Find, once after a takedown, current documents whose example went because it showed what was taken down."""
        if not self._taken_down:
            return []
        self._taken_down = False
        fused = set(self._view.read("examples", ["document_id"])["document_id"].to_pylist())
        documents = self._view.read("documents", ["document_id", "batch_id"], self._done).to_pylist()
        lost = {row["document_id"] for row in _current(self._view, documents)} - fused
        rows = self._view.lookup("documents", "document_id", lost, DOCUMENT).to_pylist()
        return _current(self._view, [row for row in rows if row["batch_id"] in self._done])


def _taken_down_since(view: View) -> bool:
    """Tell whether something was taken down since the last fuse batch."""
    published = view.state.published.values()
    last = max((row.seq for row in published if row.stage == "fuse"), default=0)
    return any(row.stage == PURGE and row.seq > last for row in published)


def _current(view: View, documents: list[Row]) -> list[Row]:
    """Leave out documents that another one stands for."""
    gone = set_aside(view, {row["document_id"] for row in documents})
    return [row for row in documents if (row["document_id"], row["batch_id"]) not in gone]


def _touched(view: View, batch: Batch, done: Set[str]) -> list[Row]:
    """Find current documents of batches fused before that this batch changes, each once, by its last fetch.

    They refer to a file that came with it or whose owner opted out with it, or a duplicate decision that was taken back
    with it lets them in again.
    """
    rows: list[Row] = []
    urls = {item.url for item in opt_outs(view, view.read("rejects", REFUSAL, [batch.batch_id]))}
    if batch.outputs.get("media"):
        urls |= set(view.read("media", ["url"], [batch.batch_id])["url"].to_pylist())
    if urls:
        rows += view.lookup("documents", "media.url", urls, DOCUMENT).to_pylist()
    decisions = [item.batch_id for item in view.live("dedup") if item.inputs[0] == batch.batch_id]  # one input's duty
    if decisions:
        found = view.read("duplicates", ["record_id", "kind"], decisions).to_pylist()
        returned = {row["record_id"] for row in found if row["kind"] == "kept"}
        rows += view.lookup("documents", "document_id", returned, DOCUMENT).to_pylist()
    latest = {row["document_id"]: row for row in sorted(rows, key=lambda row: (row["fetched_at"], row["batch_id"]))}
    return _current(view, [row for row in latest.values() if row["batch_id"] in done])


def _earlier(view: View, column: str, values: set[str]) -> list[Earlier]:
    return [Earlier(**row) for row in view.lookup("examples", column, values, EARLIER).to_pylist()]


def _newest(view: View, fused: list[Earlier]) -> set[str]:
    """Return the examples of each document that count, being the last written: it may go back to an earlier one."""
    seqs = {item.batch_id: item.seq for item in view.live("fuse")}
    last: dict[str, int] = {}
    for item in fused:
        last[item.document_id] = max(last.get(item.document_id, 0), seqs[item.batch_id])
    return {item.example_id for item in fused if seqs[item.batch_id] == last[item.document_id]}


def _places(view: View, documents: list[Row], fused: list[Earlier], settings: FuseSettings) -> dict[str, Place]:
    urls = {row["document_id"]: row["url"] for row in documents}
    links = _links(view, set(urls))
    linked = {end for pair in links for end in pair} - urls.keys()
    earlier = {(item.example_id, item.fetched_at): item for item in [*fused, *_earlier(view, "document_id", linked)]}
    return assign(urls, links, earlier.values(), (settings.val, settings.test))


def _links(view: View, documents: set[str]) -> set[tuple[str, str]]:
    """Follow duplicate decisions, in both directions, until no new document turns up; versions of a URL do not link."""
    links: set[tuple[str, str]] = set()
    seen: set[str] = set()
    frontier = documents
    while frontier:
        seen |= frontier
        for column in ("record_id", "kept_id"):
            rows = view.lookup("duplicates", column, frontier, ["record_id", "kept_id", "kind"]).to_pylist()
            links |= {(row["record_id"], row["kept_id"]) for row in rows if row["kind"] not in ("superseded", "kept")}
        frontier = {end for pair in links for end in pair} - seen
    return links


def _media(view: View, documents: list[Row]) -> tuple[dict[str, Row], dict[str, list[Row]], dict[str, Row]]:
    """Look up, in any batch, the newest file of each media URL, and what the models made of it, by media id.

    What was taken before its owner opted out is left out.
    """
    urls = {item["url"] for row in documents for item in row["media"] or ()}
    found = view.lookup("media", "url", urls, ["media_id", "url", "kind", "licence", "fetched_at"]).to_pylist()
    refused = {
        item.url: item
        for item in sorted(
            opt_outs(view, view.lookup("rejects", "url", urls, REFUSAL)), key=lambda item: item.fetched_at
        )
    }
    media = {
        row["url"]: row
        for row in sorted(found, key=lambda row: (row["fetched_at"], row["media_id"]))
        if row["url"] not in refused or refused[row["url"]].fetched_at <= row["fetched_at"]
    }
    ids = {row["media_id"] for row in media.values()}
    return media, pictures_of(view, ids), speech_of(view, ids)


def _input(row: Row, resolved: list[Row], place: Place) -> Row:
    kept = {name: row[name] for name in DOCUMENT if name not in ("batch_id", "media")}
    return {
        **kept,
        "document_batch": row["batch_id"],
        "media": resolved,
        "cluster_id": place.cluster_id,
        "split": place.split,
        "change": place.change,
    }
