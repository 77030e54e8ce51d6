"""The whole story of one URL or id: fetched, kept or turned away, made into what, in which examples and models."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from catalog.decisions import NO_DECISION, PROPOSED
from catalog.evidence import Evidence, Row, Visit, gather, versions, visits
from catalog.home import Home, View
from catalog.ledger import Row as LedgerRow
from catalog.ledger import State
from catalog.tombstones import domains_of, keyed_hash, read_key
from catalog.urls import canonical
from catalog.verdicts import set_aside

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"kept": "green", "purged": "magenta", "pending": "yellow", "unknown": "dim"}


@dataclass(frozen=True)
class Event:
    """One thing that happened to a subject."""

    time: str | None
    stage: str
    batch_id: str | None
    outcome: str
    reason: str | None = None
    detail: str | None = None
    order: tuple[datetime, int] | None = field(default=None, compare=False)

    def public(self) -> dict[str, Any]:
        """Return the event without its place in the order."""
        return {name: value for name, value in asdict(self).items() if name != "order"}


def why(home: Home, subject: str) -> dict[str, Any]:
    """Tell what became of a URL, or of a page, document, medium, example or batch by its id."""
    view = home.view()
    url = canonical(subject) or subject.strip()
    if url in view.state.published:
        return _batch(home, view.state, view.state.published[url])
    known = visits(home.root, url)
    buried = _tombstones(home, view, url)
    found = gather(view, [url, *(visit.url for visit in known[1:])])
    away = set_aside(view, _records(found))
    examples = [_example(row, (row["document_id"], row["document_batch"]) in away) for row in found.rows["examples"]]
    rounds = _rounds(view.state, {row["batch_id"] for row in found.rows["examples"]})
    models = versions(home.root, (row["example_id"] for row in examples), rounds)
    events = [*_row_events(found), *_frontier_events(known, found), *_round_events(rounds, models), *buried]
    return {
        "subject": url,
        "state": "purged" if buried else _state(view, found, known, away),
        "events": _sorted(events),
        "examples": examples,
        "models": [model for model in models if model["times"]],
    }


def _tombstones(home: Home, view: View, url: str) -> list[Event]:
    """Tell of the takedowns of a URL, of its host, or of a hash."""
    rows = view.read("tombstones").to_pylist()
    if not rows:
        return []
    key = read_key(home.warehouse, True)
    subjects = {keyed_hash(key, kind, url) for kind in ("url", "payload", "text")}
    subjects |= {keyed_hash(key, "host", name) for name in domains_of(url)}
    events = []
    for row in rows:
        if row["subject"] in subjects:
            batch = view.state.published[row["batch_id"]]
            said = f"by {row['who']}: {row['reason']}"
            events.append(_event(row["time"], batch, "purged", row["subject_kind"], said))
    return events


def _records(found: Evidence) -> set[str]:
    return found.values("documents", "document_id") | found.values("media", "media_id")


def _state(view: View, found: Evidence, known: Iterable[Visit], away: frozenset[tuple[str, str]]) -> str:
    """Judge by what stands: a live record that was not set aside counts more than an earlier refusal."""
    rows = found.rows
    examples = [(row["document_id"], row["document_batch"]) for row in rows["examples"]]
    documents = [(row["document_id"], row["batch_id"]) for row in rows.get("documents", ())]
    records = documents + [(row["media_id"], row["batch_id"]) for row in rows.get("media", ())]
    if any(record not in away for record in (*examples, *records)):
        return "kept"
    if records or examples:
        return "duplicate"
    extracted = view.state.consumed("extract", None)
    if any(page["batch_id"] not in extracted for page in rows.get("pages", ())):
        return "pending"
    last = next(reversed(list(known)), None)
    if rows.get("rejects") or (last and last.outcome not in (None, "ok")):
        return "rejected"
    if last and last.state in ("queued", "leased"):
        return "pending"
    return "kept" if rows.get("pages") or last else "unknown"


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _row_events(found: Evidence) -> list[Event]:
    published = found.view.state.published
    events = []
    for table, tell in TELLERS.items():
        for row in found.rows.get(table, ()):
            batch = published[row["batch_id"]]
            outcome, reason, detail = tell(row, found)
            time = row["fetched_at"] if table == "pages" else batch.time
            events.append(_event(time, batch, outcome, reason, detail))
    return events


def _event(time: datetime, batch: LedgerRow, outcome: str, reason: str | None, detail: str | None) -> Event:
    return Event(time.isoformat(), batch.stage, batch.batch_id, outcome, reason, detail, (time, batch.seq))


def _sorted(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Order events by time; those whose time nobody noted, such as waiting, come last."""
    timed = [event for event in events if event.order]
    timed.sort(key=lambda event: (event.order, event.outcome, event.detail or ""))
    return [event.public() for event in (*timed, *(event for event in events if not event.order))]


def _fetched(row: Row, found: Evidence) -> tuple[str, str | None, str]:
    robots = f"allowed by robots rule '{row['robots_rule']}'" if row["robots_rule"] else "no robots rule applies"
    status = f"status {row['status']}" if row["status"] else None
    parts = [status, row["content_type"], _size(row["num_bytes"]), robots]
    parts += [f"{name} {row[name]}" for name in ("licence", "source", "referrer") if row[name]]
    parts.append(_rights(row["rights"]))
    if row["attempts"]:
        parts.append(f"after attempts that brought nothing: {'; '.join(row['attempts'])}")
    return ("rejected" if row["reason"] else "fetched"), row["reason"], _joined([row["url"], *parts])


def _rights(rights: str | None) -> str | None:
    """Say in words what a resource says of its use: 'rights noai (meta), …'."""
    if rights and rights.startswith("["):
        said = (
            (one["says"], " ".join(one[name] for name in ("by", "to", "url") if name in one))
            for one in json.loads(rights)
        )
        rights = ", ".join(f"{says} ({source})" for says, source in said)
    return f"rights {rights}" if rights else None


def _extracted(row: Row, found: Evidence) -> tuple[str, None, str]:
    title = f"'{row['title']}'" if row["title"] else None
    language = f"language {row['language']}" if row["language"] else None
    words = f"{row['quality']['num_words']} words" if row["quality"] else None
    return "extracted", None, _joined([f"document {row['document_id']}", title, language, words, _media(row)])


def _media(row: Row) -> str | None:
    return f"{len(row['media'])} media" if row["media"] else None


def _medium(row: Row, found: Evidence) -> tuple[str, None, str]:
    return (
        "extracted",
        None,
        _joined([f"{row['kind']} {row['media_id']}", row["content_type"], _size(row["num_bytes"])]),
    )


def _text_vector(row: Row, found: Evidence) -> tuple[str, None, str]:
    return "embedded", None, f"sentence vector by {_model(row)}"


def _image(row: Row, found: Evidence) -> tuple[str, None, str]:
    tags = ", ".join(tag["label"] for tag in row["tags"] or ())
    size = f"{row['width']}x{row['height']}"
    return "embedded", None, _joined([f"picture {size}, vector by {_model(row)}", f"tags {tags}" if tags else None])


def _transcribed(row: Row, found: Evidence) -> tuple[str, None, str]:
    length = f"{row['duration']:.1f} s" if row["duration"] is not None else None
    text = f"'{row['text'][:120]}'" if row["text"] else "no speech"
    return "transcribed", None, _joined([length, row["language"], f"by {_model(row)}", text])


def _annotated(row: Row, found: Evidence) -> tuple[str, None, str]:
    topics = ", ".join(topic["label"] for topic in row["topics"] or ())
    counts = f"{len(row['entities'] or ())} entities, {len(row['relations'] or ())} relations"
    return "annotated", None, _joined([counts, f"topics {topics}" if topics else None, f"by {row['annotator']}"])


def _decided(row: Row, found: Evidence) -> tuple[str, str, str]:
    """Tell a decision from the side of the subject: what it duplicates, or what it stands for."""
    how = _how(row)
    ours = {(item["document_id"], item["batch_id"]) for item in found.rows.get("documents", ())}
    ours |= {(item["media_id"], item["batch_id"]) for item in found.rows.get("media", ())}
    if row["kind"] == "kept":
        return "kept", row["kind"], f"{row['record_id']} counts again, {how}"
    proposed = row["state"] == PROPOSED
    if (row["record_id"], row["record_batch"]) in ours:
        outcome = "proposed" if proposed else "superseded" if row["kind"] == "superseded" else "duplicate"
        return outcome, row["kind"], _joined([f"of {row['kept_id']}{_where(found, row['kept_id'])}", how])
    stands = "may stand for" if proposed else "stands for"
    return "kept", row["kind"], _joined([f"{stands} {row['record_id']}{_where(found, row['record_id'])}", how])


def _how(row: Row) -> str:
    """Say by which method, threshold and model a decision came about."""
    score = f"score {row['score']:.3f}" if row["score"] is not None else None
    if score and row["threshold"] is not None and row["kind"] not in NO_DECISION:
        score += f" (at least {row['threshold']:.3f})"
    return _joined([f"by {row['method']}", score, f"model {_model(row)}" if row["model"] else None])


def _judged(row: Row, found: Evidence) -> tuple[str, str, str]:
    """Tell what a person said of a record, alone or beside another."""
    beside = f"{row['subject_id']} and {row['other_id']}" if row["other_id"] else row["subject_id"]
    who = f"by {row['who']}" if row["who"] else None
    return "judged", row["verdict"], _joined([beside, who, row["comment"] or None])


def _where(found: Evidence, record: str) -> str:
    """Name the URL of the other side of a decision."""
    other = Evidence(found.view)
    urls = [row["url"] for row in other.look("documents", "document_id", [record])]
    urls += [row["url"] for row in other.look("media", "media_id", [record])]
    return f" ({', '.join(sorted(set(urls)))})" if urls else ""


def _fused(row: Row, found: Evidence) -> tuple[str, None, str]:
    kinds = [segment["kind"] for segment in row["segments"] or ()]
    segments = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    of_split = f"split {row['split']}" if row["split"] else None
    part = f"part {row['part']} of {row['num_parts']}" if (row["num_parts"] or 1) > 1 else None
    told = [f"example {row['example_id']}", part, row["change"], of_split, f"segments: {segments}"]
    return "fused", None, _joined(told)


def _rejected(row: Row, found: Evidence) -> tuple[str, str, str | None]:
    return "rejected", row["reason"], row["detail"]


TELLERS: dict[str, Callable[[Row, Evidence], tuple[str, str | None, str | None]]] = {
    "pages": _fetched,
    "documents": _extracted,
    "media": _medium,
    "text_features": _text_vector,
    "image_features": _image,
    "transcripts": _transcribed,
    "annotations": _annotated,
    "duplicates": _decided,
    "reviews": _judged,
    "examples": _fused,
    "rejects": _rejected,
}


def _frontier_events(known: Iterable[Visit], found: Evidence) -> list[Event]:
    """Tell what the tables do not: waiting, held back, redirected, visited again without news."""
    told = {row["url"] for table in ("pages", "rejects") for row in found.rows.get(table, ())}
    last = max((page["fetched_at"] for page in found.rows.get("pages", ())), default=None)
    events = []
    for visit in known:
        order = (visit.fetched_at, 0) if visit.fetched_at else None
        time = visit.fetched_at.isoformat() if visit.fetched_at else None
        linked = f"linked from {visit.referrer}" if visit.referrer else None
        if visit.target:
            events.append(Event(time, "crawl", None, "redirected", None, f"{visit.url} to {visit.target}", order))
        elif visit.state == "held":
            events.append(Event(time, "crawl", None, "held", visit.outcome, _joined([visit.detail, linked]), order))
        elif visit.state in ("queued", "leased") and visit.url not in told:
            waits = "in flight, or in a segment that is not sealed yet" if visit.state == "leased" else "queued"
            events.append(Event(time, "crawl", None, "pending", None, _joined([waits, linked]), order))
        elif visit.state == "dead":
            detail = _joined([visit.detail, "gone so often that it is not asked for again"])
            events.append(Event(time, "crawl", None, "dropped", visit.outcome, detail, order))
        elif visit.state == "done" and visit.outcome != "ok" and visit.url not in told:
            events.append(Event(time, "crawl", None, "rejected", visit.outcome, visit.detail, order))
        elif visit.state == "done" and visit.outcome == "ok" and (last is None or _later(visit.fetched_at, last)):
            detail = visit.detail or ("unchanged" if last else "brought links only")
            events.append(Event(time, "crawl", None, "visited", None, detail, order))
    return events


def _later(time: datetime | None, than: datetime) -> bool:
    return time is not None and (time - than).total_seconds() > 1


def _rounds(state: State, fused: set[str]) -> dict[str, LedgerRow]:
    """Return the training rounds, not rolled back, that consumed one of these fuse batches."""
    return {
        row.batch_id: row
        for row in state.published.values()
        if row.stage == "train" and row.batch_id not in state.revoked and fused & {item.batch_id for item in row.inputs}
    }


def _round_events(rounds: Mapping[str, LedgerRow], models: Iterable[Row]) -> list[Event]:
    made = {model["round"]: model["version"] for model in models}
    return [
        _event(row.time, row, "consumed", None, f"round of model {made.get(row.batch_id, 'without a version')}")
        for row in rounds.values()
    ]


# ── a batch ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _batch(home: Home, state: State, batch: LedgerRow) -> dict[str, Any]:
    """Tell the story of a batch: what it took in, what it wrote, who consumed it, whether readers see it."""
    counts = {name: sum(getattr(item, name) for item in batch.inputs) for name in COUNTS}
    detail = ", ".join(f"{value} {name.removeprefix('num_')}" for name, value in counts.items() if value)
    wrote = ", ".join(f"{rows} {table}" for table, rows in batch.outputs.items())
    rejected = ", ".join(f"{reason} {rows}" for reason, rows in batch.rejects.items())
    text = _joined([detail, f"wrote {wrote or 'no rows'}", f"rejects: {rejected}" if rejected else None])
    events = [_event(batch.time, batch, "published", None, text)]
    for row in state.rows:
        if batch.batch_id in row.targets:
            events.append(_event(row.time, row, {"revoke": "revoked", "activate": "activated"}[row.kind], None, None))
        if row.kind == "publish" and batch.batch_id in {item.batch_id for item in row.inputs}:
            events.append(_event(row.time, row, "consumed", None, f"by {row.stage}"))
    revoked = batch.batch_id in state.revoked
    if batch.batch_id not in state.live and not revoked:
        events.append(
            Event(None, batch.stage, batch.batch_id, "replaced", None, "a newer recipe's batch is live instead")
        )
    return {
        "subject": batch.batch_id,
        "state": "kept" if batch.batch_id in state.live else "rejected",
        "events": _sorted(events),
        "examples": [],
        "models": versions(home.root, [], {batch.batch_id: batch}),
    }


COUNTS = ("num_in", "num_processed", "num_rejected", "num_reused", "num_skipped")


def _example(row: Row, away: bool) -> dict[str, Any]:
    names = ("example_id", "batch_id", "document_id", "url", "split", "change")
    return {**{name: row[name] for name in names}, "current": not away}


def _model(row: Row) -> str:
    return f"{row['model']}@{row['revision']}" if row["revision"] else str(row["model"])


def _size(num_bytes: int | None) -> str | None:
    return f"{num_bytes:,} bytes" if num_bytes is not None else None


def _joined(parts: Iterable[str | None]) -> str:
    return ", ".join(part for part in parts if part)


def render(result: dict[str, Any], console: "Console") -> None:
    """Print the state and the story line by line."""
    from rich.markup import escape
    from rich.table import Table

    style = STYLES.get(result["state"], "red")
    console.print(f"[bold]{escape(result['subject'])}[/bold] is [{style}]{result['state']}[/{style}]", highlight=False)
    table = Table(*("time", "stage", "outcome", "detail", "batch"), box=None, header_style="bold")
    table.columns[3].overflow = "fold"
    for event in result["events"]:
        told = event["reason"] in (None, event["outcome"])
        outcome = event["outcome"] if told else f"{event['outcome']}: {event['reason']}"
        batch = (event["batch_id"] or "")[:8]
        cells = ((event["time"] or "")[:19].replace("T", " "), event["stage"], outcome, event["detail"] or "", batch)
        table.add_row(*(escape(cell) for cell in cells))
    if result["events"]:
        console.print(table)
    for example in result["examples"]:
        note = "" if example["current"] else ", set aside as a duplicate"
        console.print(f"in example {example['example_id']} (split {example['split']}){note}", highlight=False)
    for model in result["models"]:
        note = ", promoted" if model["promoted"] else ""
        console.print(f"in model {model['version']}{note}, taken {model['times']} times", highlight=False)
