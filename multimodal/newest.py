"""What the models made of a picture or recording: of several that are live at once, what was published last."""

from collections.abc import Set
from typing import Any, TypeAlias

from catalog.home import View

Row: TypeAlias = dict[str, Any]
BY = ["media_id", "model", "revision"]
PICTURES = [*BY, "batch_id", "caption", "tags", "frame_time"]
SPEECH = [*BY, "batch_id", "text", "duration", "segments"]


def pictures_of(view: View, media: Set[str]) -> dict[str, list[Row]]:
    """Return what is known of each picture, or of each key frame of a film, by media id."""
    rows = _last(view, view.lookup("image_features", "media_id", media, PICTURES).to_pylist())
    patches = _shapes(view, "image_patches", media, ["frame_time"])
    found: dict[str, list[Row]] = {}
    for row in rows:
        shape = patches.get((*(row[name] for name in BY), row["frame_time"]))
        known = {name: row[name] for name in ("caption", "tags", "model", "revision")}
        found.setdefault(row["media_id"], []).append({**known, "seconds": row["frame_time"], "shape": shape})
    return found


def speech_of(view: View, media: Set[str]) -> dict[str, Row]:
    """Return what is said in each recording, by media id."""
    rows = _last(view, view.lookup("transcripts", "media_id", media, SPEECH).to_pylist())
    states = _shapes(view, "audio_states", media, [])
    found = {}
    for row in rows:
        known = {name: row[name] for name in ("text", "duration", "model", "revision")}
        passages = [{name: one[name] for name in ("start", "end", "text")} for one in row["segments"] or ()]
        shape = states.get(tuple(row[name] for name in BY))
        found[row["media_id"]] = {**known, "passages": passages, "shape": shape}
    return found


def _last(view: View, rows: list[Row]) -> list[Row]:
    """Keep, of each medium, the rows of the batch that was published last."""
    seqs = {batch: row.seq for batch, row in view.state.published.items()}
    last: dict[str, int] = {}
    for row in rows:
        last[row["media_id"]] = max(last.get(row["media_id"], 0), seqs[row["batch_id"]])
    return [row for row in rows if seqs[row["batch_id"]] == last[row["media_id"]]]


def _shapes(view: View, table: str, media: Set[str], more: list[str]) -> dict[tuple[Any, ...], list[int]]:
    rows = view.lookup(table, "media_id", media, [*BY, *more, "shape"]).to_pylist()
    return {tuple(row[name] for name in (*BY, *more)): row["shape"] for row in rows}
