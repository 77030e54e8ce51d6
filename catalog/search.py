"""Search by words, by picture or by example, over the live vectors."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from catalog.encoders import PictureEncoder, TextEncoder
from catalog.errors import InputError
from catalog.home import Home, View
from catalog.settings import Config
from catalog.vectors import VectorIndex, Vectors

Kind = Literal["text", "image"]
TABLES: dict[Kind, str] = {"text": "text_features", "image": "image_features"}
ENCODERS: dict[Kind, str] = {"text": "text", "image": "clip"}
SNIPPET = 160


def load_encoder(name: str, config: Config) -> PictureEncoder:
    """Load the encoder that an installed package offers; raise InputError if none does."""
    for point in entry_points(group="headrace.encoders", name=name):
        load: Callable[[Config], PictureEncoder] = point.load()
        return load(config)
    raise InputError(f"search: no installed package offers a '{name}' encoder; reinstall headrace")


def by_text(home: Home, config: Config, text: str, k: int, kind: Kind) -> dict[str, Any]:
    """Find what words describe: pictures through CLIP, documents through sentence vectors."""
    encoder = load_encoder(ENCODERS[kind], config)
    return _hits(home, encoder, encoder.encode_text([text]), k, kind)


def by_image(home: Home, config: Config, path: Path, k: int) -> dict[str, Any]:
    """Find pictures like the one in a file; raise InputError if it cannot be decoded."""
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    encoder = load_encoder("clip", config)
    return _hits(home, encoder, encoder.encode_images([payload]), k, "image")


def by_example(home: Home, config: Config, record_id: str, k: int) -> dict[str, Any]:
    """Find records like a stored one, by its own vector; raise InputError if it has none."""
    view = home.view()
    kinds: tuple[Kind, ...] = ("image", "text")
    for kind in kinds:
        column = "media_id" if kind == "image" else "document_id"
        found = view.lookup(TABLES[kind], column, [record_id], ["vector", "model", "revision"]).to_pylist()
        if found:
            row = found[0]
            index = _index(home, view, kind, row["model"], row["revision"])
            hits = index.search(np.asarray([row["vector"]], np.float32), k + 1)[0]
            return {"hits": _describe(view, kind, [hit for hit in hits if hit[0] != record_id][:k])}
    raise InputError(
        f"{record_id}: no picture or document with this id has a vector; take an id from headrace search or sql"
    )


def _hits(home: Home, encoder: TextEncoder, queries: Vectors, k: int, kind: Kind) -> dict[str, Any]:
    view = home.view()
    index = _index(home, view, kind, encoder.model, encoder.revision)
    return {"hits": _describe(view, kind, index.search(queries, k)[0])}


def _index(home: Home, view: View, kind: Kind, model: str, revision: str) -> VectorIndex:
    index = VectorIndex(home.root / "indexes", TABLES[kind], model, revision)
    index.refresh(view)
    return index


def _describe(view: View, kind: Kind, hits: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Name each hit: its URL, and its alt text or the beginning of its text."""
    ids = [hit[0] for hit in hits]
    if kind == "image":
        urls = {
            row["media_id"]: row["url"]
            for row in view.lookup("media", "media_id", ids, ["media_id", "url"]).to_pylist()
        }
        tags = view.lookup("image_features", "media_id", ids, ["media_id", "tags"]).to_pylist()
        texts = {row["media_id"]: ", ".join(tag["label"] for tag in (row["tags"] or [])[:3]) for row in tags}
    else:
        rows = view.lookup("documents", "document_id", ids, ["document_id", "url", "title", "text"]).to_pylist()
        urls = {row["document_id"]: row["url"] for row in rows}
        texts = {row["document_id"]: f"{row['title'] or ''} — {(row['text'] or '')[:SNIPPET]}" for row in rows}
    return [
        {"id": name, "kind": kind, "score": round(score, 4), "url": urls.get(name), "text": texts.get(name, "")}
        for name, score in hits
    ]


def render(found: dict[str, Any], console: Console) -> None:
    """Print hits for people."""
    table = Table("score", "kind", "what", "where", box=None)
    for hit in found["hits"]:
        cells = (f"{hit['score']:.3f}", hit["kind"], hit["text"], hit["url"] or hit["id"])
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table if found["hits"] else "nothing found: run the embed stage first, or search for something else")
