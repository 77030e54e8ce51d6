"""Look at fused examples: what each segment is, where it comes from, and the features that stand among the words."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from catalog import files
from catalog.errors import InputError
from catalog.home import Home, View
from catalog.interleaved import Soft, interleave

if TYPE_CHECKING:
    from rich.console import Console

Row: TypeAlias = dict[str, Any]
SHOWN = (
    "example_id", "document_id", "url", "part", "num_parts", "num_tokens", "split", "language", "source", "licence",
    "change", "text",
)  # fmt: skip


def show(home: Home, subject: str, features: Path | None = None) -> dict[str, Any]:
    """Return the newest examples of an example's id, a document's id or a URL, parts in order.

    `features` is where their features for soft tokens go (.npz): the arrays are float16, named as `pieces` name them,
    which are the text and the arrays in reading order. Raise InputError where there is nothing.
    """
    view = home.view()
    found = newest(view, subject)
    if not found:
        raise InputError(f"{subject}: no example of this id or URL; headrace why {subject} says why")
    rows = [{name: row[name] for name in SHOWN} | _told(row) for row in found]
    if features is not None:
        _write(view, found, rows, features)
    return {"examples": rows, "features": str(features) if features else None}


def _told(row: Row) -> Row:
    """Put what is known of each segment in one place."""
    placements = row["placements"] or [{}] * len(row["segments"])
    segments = [segment | placement for segment, placement in zip(row["segments"], placements, strict=True)]
    return {"segments": segments, "features": row["features"] or []}


def newest(view: View, subject: str) -> list[Row]:
    """Return the examples that an id or a URL names, as they were last fused, by part."""
    found: list[Row] = []
    for column in ("example_id", "document_id", "url"):
        found += view.lookup("examples", column, [subject]).to_pylist()
    seqs = {batch.batch_id: batch.seq for batch in view.live("fuse")}
    last = max((seqs[row["batch_id"]] for row in found), default=0)
    return sorted((row for row in found if seqs[row["batch_id"]] == last), key=lambda row: row["part"] or 1)


def _write(view: View, found: list[Row], rows: list[Row], path: Path) -> None:
    arrays: dict[str, Any] = {}
    for row, pieces in zip(rows, interleave(view, found), strict=True):
        row["pieces"] = []
        for piece in pieces:
            if isinstance(piece, Soft):
                name = f"{len(arrays):05d}"
                arrays[name] = piece.values
                row["pieces"].append({"array": name, "table": piece.table, "media_id": piece.media_id})
            else:
                row["pieces"].append({"text": piece})
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    try:
        files.replace(str(path), sink.getvalue())
    except OSError as error:
        raise InputError(f"--features {path}: cannot be written: {error.strerror}") from error


def render(result: dict[str, Any], console: "Console") -> None:
    """Print each example's segments, then its text."""
    for row in result["examples"]:
        parts = f", part {row['part']} of {row['num_parts']}" if (row["num_parts"] or 1) > 1 else ""
        tokens = f", {row['num_tokens']} tokens" if row["num_tokens"] is not None else ""
        console.rule(f"example {row['example_id'][:12]}{parts}", align="left")
        told = f"({row['language']}, {row['split']}, {row['change']}{tokens}), {row['licence'] or 'no licence'}"
        console.print(f"{row['url']} {told}", highlight=False, markup=False, soft_wrap=True)
        for segment in row["segments"]:
            console.print(_line(segment), highlight=False, markup=False, soft_wrap=True)
        for place in row["features"]:
            shape = "×".join(map(str, place["shape"]))
            line = f"features {place['table']} {shape} of {place['media_id'][:12]} at {place['start']}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print(row["text"], highlight=False, markup=False, soft_wrap=True)
    if result["features"]:
        console.print(f"features → {result['features']}", style="dim", highlight=False, markup=False)


def _line(segment: Row) -> str:
    """Say a segment's kind, place, time and words, and whose."""
    start, end = segment.get("seconds_start"), segment.get("seconds_end")
    when = f" {start:.1f}–{end:.1f} s" if start is not None and end is not None else ""
    by = f" by {segment['model']}@{segment['revision']}" if segment.get("model") else ""
    of = f" {segment['ref_id'][:12]}" if segment["kind"] != "text" else ""
    licence = f" ({segment['licence']})" if segment.get("licence") and segment["kind"] != "text" else ""
    words = " ".join((segment["text"] or "").split())
    shown = f"{words[:100]}…" if len(words) > 100 else words
    return f"{segment['kind']:>5}{of} [{segment['start']}:{segment['end']}]{when}{by}{licence} {shown}".rstrip()
