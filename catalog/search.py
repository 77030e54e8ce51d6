"""Search by words, by picture or by example: vectors and full text, ranked together, filtered by SQL."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console

from catalog import sql
from catalog.decisions import PROPOSED
from catalog.encoders import PictureEncoder
from catalog.errors import InputError
from catalog.fulltext import FullText, tokens
from catalog.home import Home, View
from catalog.settings import Config
from catalog.vector_segments import Vectors
from catalog.vectors import VectorIndex
from catalog.verdicts import set_aside

Kind: TypeAlias = Literal["text", "image", "audio"]
Mode: TypeAlias = Literal["hybrid", "vectors", "words"]
FEATURES: dict[Kind, str] = {"text": "text_features", "image": "image_features"}
ENCODERS: dict[Kind, str] = {"text": "text", "image": "clip"}
RECORDS: dict[Kind, tuple[str, str]] = {
    "text": ("documents", "document_id"), "image": ("media", "media_id"), "audio": ("media", "media_id"),
}  # fmt: skip
# What a condition may speak of: every column of the records, and of what the models made of them.
FILTERED: dict[Kind, str] = {
    "text": "documents",
    "image": "(SELECT * FROM media JOIN image_features USING (media_id))",
    "audio": "(SELECT * FROM media JOIN transcripts USING (media_id))",
}
SNIPPET = 160
DEPTH = 5  # candidates per hit that each ranking offers: duplicates are taken out after
RANK_CONSTANT = 60  # of reciprocal rank fusion, as in Cormack, Clarke and Büttcher, SIGIR 2009


@dataclass(frozen=True)
class Query:
    """What is asked beside the query itself."""

    kind: Kind
    k: int = 10
    where: str | None = None  # an SQL condition on the records
    mode: Mode = "hybrid"


@dataclass
class _Hit:
    id: str
    score: float
    vector: float | None = None  # cosine
    words: float | None = None  # BM25


def load_encoder(name: str, config: Config) -> PictureEncoder:
    """Load the encoder that an installed package offers; raise InputError if none does."""
    for point in entry_points(group="headrace.encoders", name=name):
        load: Callable[[Config], PictureEncoder] = point.load()
        return load(config)
    raise InputError(f"search: no installed package offers a '{name}' encoder; reinstall headrace")


def by_text(home: Home, config: Config, text: str, query: Query) -> dict[str, Any]:
    """Find what words describe: pictures through CLIP, documents by meaning and by word, recordings by word."""
    view = home.view()
    allowed = _allowed(view, query)
    vectors: dict[str, float] = {}
    words: dict[str, float] = {}
    notes: list[str] = []
    used = None
    if query.mode != "words" and query.kind in FEATURES:
        encoder = load_encoder(ENCODERS[query.kind], config)
        index = _index(home, view, query.kind, encoder.model, encoder.revision)
        used = {"model": encoder.model, "revision": encoder.revision}
        vectors = _nearest(index, view, encoder.encode_text([text]), query, allowed)
        if not len(index):
            notes.append(f"no vectors of {encoder.model} yet; run the embed stage")
    if query.mode != "vectors" and query.kind != "image":
        words, said = _worded(home, view, text, query, allowed)
        notes += said
    hits = _fused(vectors, words) if vectors and words else _single(vectors, words)
    return {**_answer(view, query, hits, tokens(text)), **({"index": used} if used else {}), "notes": notes}


def by_image(home: Home, config: Config, path: Path, query: Query) -> dict[str, Any]:
    """Find pictures like the one in a file; raise InputError if it cannot be decoded."""
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    encoder = load_encoder("clip", config)
    view = home.view()
    index = _index(home, view, "image", encoder.model, encoder.revision)
    found = _nearest(index, view, encoder.encode_images([payload]), query, _allowed(view, query))
    used = {"model": encoder.model, "revision": encoder.revision}
    return {**_answer(view, query, _single(found, {})), "index": used, "notes": []}


def by_example(home: Home, record_id: str, k: int, where: str | None = None) -> dict[str, Any]:
    """Find records like a stored one by its own newest vector, duplicates too; raise InputError if it has none."""
    view = home.view()
    kinds: tuple[Kind, ...] = ("image", "text")
    for kind in kinds:
        column = RECORDS[kind][1]
        rows = view.lookup(FEATURES[kind], column, [record_id], ["vector", "model", "revision", "batch_id"]).to_pylist()
        if rows:
            row = max(rows, key=lambda row: view.state.live[row["batch_id"]].seq)
            query = Query(kind, k, where)
            index = _index(home, view, kind, row["model"], row["revision"])
            found = _nearest(index, view, np.asarray([row["vector"]], np.float32), query, _allowed(view, query))
            found.pop(record_id, None)
            used = {"model": row["model"], "revision": row["revision"]}
            return {**_answer(view, query, _single(found, {}), duplicates=True), "index": used, "notes": []}
    raise InputError(
        f"{record_id}: no picture or document with this id has a vector; take an id from headrace search or sql"
    )


def _index(home: Home, view: View, kind: Kind, model: str, revision: str) -> VectorIndex:
    index = VectorIndex(home.root / "indexes", FEATURES[kind], model, revision, home.settings.vectors)
    index.refresh(view)
    return index


def _nearest(
    index: VectorIndex, view: View, vectors: Vectors, query: Query, allowed: pa.Array | None
) -> dict[str, float]:
    return dict(index.search(vectors, DEPTH * query.k + 1, allowed, index.stored(view))[0])


def _worded(
    home: Home, view: View, text: str, query: Query, allowed: pa.Array | None
) -> tuple[dict[str, float], list[str]]:
    kind: Literal["text", "audio"] = "audio" if query.kind == "audio" else "text"
    with _full_text(home) as words:
        words.refresh(view)
        found = words.search(text, kind, DEPTH * query.k, allowed)
    notes = [] if found.ranked else ["these words stand in too many records to rank them; the newest come first"]
    return dict(found.hits), notes


@contextmanager
def _full_text(home: Home) -> Iterator[FullText]:
    words = FullText(home.root / "indexes")
    try:
        yield words
    finally:
        words.close()


def _allowed(view: View, query: Query) -> pa.Array | None:
    """Return the ids of the records that meet the condition; raise InputError if it is no SQL condition."""
    if not query.where:
        return None
    _, row_id = RECORDS[query.kind]
    # a new line ends a comment in the condition
    text = f"SELECT DISTINCT {row_id} FROM {FILTERED[query.kind]} WHERE ({query.where}\n)"  # noqa: S608 — checked below
    with sql.connect(view, sql.mentioned(text)) as db:
        sql.check_select(db, text)
        try:
            return db.sql(text).to_arrow_table()[row_id].combine_chunks()
        except duckdb.Error as error:
            raise InputError(f"--where: {sql.explain(error).removeprefix('sql: ')}") from error


def _single(vectors: Mapping[str, float], words: Mapping[str, float]) -> list[_Hit]:
    hits = [_Hit(name, score, vector=score) for name, score in vectors.items()]
    return hits or [_Hit(name, score, words=score) for name, score in words.items()]


def _fused(vectors: Mapping[str, float], words: Mapping[str, float]) -> list[_Hit]:
    """Rank two rankings together: what both put first comes first (reciprocal rank fusion)."""
    scores: dict[str, float] = defaultdict(float)
    for ranking in (vectors, words):
        for rank, name in enumerate(ranking):
            scores[name] += 1 / (RANK_CONSTANT + rank + 1)
    hits = [_Hit(name, score, vectors.get(name), words.get(name)) for name, score in scores.items()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _answer(
    view: View, query: Query, hits: Sequence[_Hit], words: Sequence[str] = (), *, duplicates: bool = False
) -> dict[str, Any]:
    """Describe the first k hits: their URL and what they show or say; set-aside ones only where they are asked for."""
    table, row_id = RECORDS[query.kind]
    ids = [hit.id for hit in hits]
    columns = [row_id, "url", "batch_id", *(("title", "text") if query.kind == "text" else ())]
    told = [row for row in view.lookup("duplicates", "record_id", ids).to_pylist() if row["kind"] != "kept"]
    told.sort(key=lambda row: row["state"] != PROPOSED)  # what was decided names the kept record before a proposal does
    away = set_aside(view, ids)
    kept = {row["record_id"]: row["kept_id"] for row in told}
    records: dict[str, dict[str, Any]] = {}
    standing: set[str] = set()
    for row in view.lookup(table, row_id, ids, columns).to_pylist():
        if (row[row_id], row["batch_id"]) not in away:
            standing.add(row[row_id])
        if row[row_id] not in records or (row[row_id], row["batch_id"]) not in away:
            records[row[row_id]] = row
    shown = [hit for hit in hits if duplicates or hit.id in standing or hit.id not in records][: query.k]
    texts = _texts(view, query.kind, [hit.id for hit in shown], records, words)
    found = [
        {
            "id": hit.id,
            "kind": query.kind,
            "score": round(hit.score, 4),
            **{
                name: round(value, 4)
                for name, value in (("vector", hit.vector), ("words", hit.words))
                if value is not None
            },
            "url": records.get(hit.id, {}).get("url"),
            "text": texts.get(hit.id, ""),
            **({} if hit.id in standing else {"duplicate_of": kept.get(hit.id)}),
        }
        for hit in shown
    ]
    return {"hits": found}


def _texts(
    view: View, kind: Kind, ids: Sequence[str], records: Mapping[str, Mapping[str, Any]], words: Sequence[str]
) -> dict[str, str]:
    """Say in a line what each hit is: title and text, a picture's tags, the moment of a recording."""
    if kind == "text":
        return {
            name: f"{title} — {_around((record['text'] or '').removeprefix(title), words)}"
            for name, record in records.items()
            for title in [record["title"] or "untitled"]
        }
    if kind == "image":
        rows = view.lookup("image_features", "media_id", ids, ["media_id", "tags"]).to_pylist()
        return {row["media_id"]: ", ".join(tag["label"] for tag in (row["tags"] or [])[:3]) for row in rows}
    rows = view.lookup("transcripts", "media_id", ids, ["media_id", "text", "segments"]).to_pylist()
    return {row["media_id"]: _moment(row["segments"] or [], words) or row["text"][:SNIPPET] for row in rows}


def _around(text: str, words: Sequence[str]) -> str:
    """Cut the text around the first of the words that stands in it."""
    lowered = text.lower()
    places = [place for word in words if (place := lowered.find(word.lower())) >= 0]
    start = max(0, min(places, default=0) - SNIPPET // 3)
    return ("…" if start else "") + " ".join(text[start : start + SNIPPET].split())


def _moment(segments: Sequence[Mapping[str, Any]], words: Sequence[str]) -> str:
    """Show the first segment that says one of the words, with its time in the recording."""
    for segment in segments:
        if any(word.lower() in segment["text"].lower() for word in words):
            minutes, seconds = divmod(int(segment["start"]), 60)
            return f"[{minutes}:{seconds:02d}] {segment['text'].strip()}"
    return ""


def render(found: dict[str, Any], console: Console) -> None:
    """Print hits for people: scores and place in one line, what it is below."""
    for hit in found["hits"]:
        scores = [f"{name} {hit[name]:.3f}" for name in ("vector", "words") if name in hit]
        line = f"{', '.join(scores) or format(hit['score'], '.3f'):<28} {hit['kind']:<6} {hit['url'] or hit['id']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        what = hit["text"] + (f" (duplicate of {hit['duplicate_of']})" if hit.get("duplicate_of") else "")
        if what.strip():
            console.print(f"    {what}", markup=False, highlight=False, style="dim", overflow="ellipsis", no_wrap=True)
    if not found["hits"]:
        console.print("nothing found: run the embed stage first, or search for something else")
    if used := found.get("index"):
        told = f"vectors of {used['model']}, revision {used['revision']}"
        console.print(told, markup=False, highlight=False, style="dim", soft_wrap=True)
    for note in found.get("notes", ()):
        console.print(note, markup=False, highlight=False, style="dim")
