"""A fused example as a model with eyes and ears reads it: pieces of its text, and rows of features where they stand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog.errors import Corrupt, InputError
from catalog.home import View

Row: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, str | None, str | None, float | None]
BY_TABLE = {"image_patches": "frame_time", "audio_states": None}  # the column that tells rows of one medium apart
ROW_SECONDS = 30 / 1500 * 8  # of audio_states: Whisper's encoder gives 1,500 for 30 s, of which eight are averaged


@dataclass(frozen=True)
class Soft:
    """Features of one picture or recording, or of a piece of it: float16, one row a soft token."""

    table: str  # image_patches | audio_states
    media_id: str
    values: NDArray[np.float16]


Piece: TypeAlias = str | Soft


def interleave(view: View, examples: Sequence[Row]) -> Iterator[list[Piece]]:
    """Yield the pieces of each row of `examples` in reading order; placeholders in the text give way to the features.

    The examples need the columns text and features. Raise InputError where features are no longer live, Corrupt where
    a row does not have the shape that it says.
    """
    stored = _stored(view, [place for row in examples for place in row["features"] or ()])
    for row in examples:
        pieces: list[Piece] = []
        end = 0
        for place in row["features"] or ():
            if place["start"] > end:
                pieces.append(row["text"][end : place["start"]])
            pieces.append(Soft(place["table"], place["media_id"], _values(stored, place)))
            end = place["end"]
        if row["text"][end:]:
            pieces.append(row["text"][end:])
        yield pieces


def _stored(view: View, places: Iterable[Row]) -> dict[Key, Row]:
    wanted: dict[str, set[str]] = {}
    for place in places:
        wanted.setdefault(place["table"], set()).add(place["media_id"])
    found: dict[Key, Row] = {}
    for table, media in wanted.items():
        time = BY_TABLE[table]
        columns = ["media_id", "model", "revision", "data", "shape", time or "starts"]
        for row in view.lookup(table, "media_id", media, columns).to_pylist():
            found[table, row["media_id"], row["model"], row["revision"], row[time] if time else None] = row
    return found


def _values(stored: Mapping[Key, Row], place: Row) -> NDArray[np.float16]:
    """Return the features of a place: all rows of a picture, of a recording those of the seconds that are meant."""
    table, media = place["table"], place["media_id"]
    time = place["seconds_start"] if BY_TABLE[table] else None
    row = stored.get((table, media, place["model"], place["revision"], time))
    if row is None:
        by = f"{place['model']}@{place['revision']}"
        raise InputError(f"{table}: {media} has no live row by {by}; run headrace run, which fuses with newer features")
    values = np.frombuffer(row["data"], "<f2")
    if values.size != np.prod(row["shape"]):
        raise Corrupt(f"table {table}: the row of {media} does not have the shape that it says; run headrace doctor")
    values = values.reshape(-1, row["shape"][-1])
    return values if BY_TABLE[table] else values[_rows_heard(place, row["starts"])]


def _rows_heard(place: Row, starts: Sequence[float] | None) -> slice:
    """Return the rows of a recording's states that reach into the seconds of a place; all where it names none."""
    if place["seconds_start"] is None or not starts:
        return slice(None)
    first = np.searchsorted(starts, place["seconds_start"] - ROW_SECONDS, "right")
    return slice(int(first), int(np.searchsorted(starts, place["seconds_end"], "left")))
