"""Features stand among the words where their example says, or the reader is told why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from catalog import schema
from catalog.errors import Corrupt, InputError
from catalog.home import Home
from catalog.interleaved import Piece, interleave
from catalog.settings import CatalogSettings
from catalog.stage import Stage, StageReport

STAGE = Stage(
    "embed", (), ("image_patches", "audio_states"), 1, lambda _: {}, lambda home, config: StageReport("embed")
)
PATCHES = np.arange(12, dtype=np.float16).reshape(4, 3)
STATES = np.arange(20, dtype=np.float16).reshape(10, 2)
BY = {"model": "m", "revision": "r"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    pictures = [
        {"media_id": "film", "data": (PATCHES + second).tobytes(), "shape": [4, 3], "frame_time": float(second), **BY}
        for second in (0, 5)
    ]
    pictures += [
        {"media_id": "picture", "data": PATCHES.tobytes(), "shape": [4, 3], "frame_time": None, **BY},
        {"media_id": "short", "data": PATCHES.tobytes()[:6], "shape": [4, 3], "frame_time": None, **BY},
    ]
    starts = [0.5 + 0.16 * row for row in range(5)] + [9.0 + 0.16 * row for row in range(5)]  # silence between
    sounds = [{"media_id": "talk", "data": STATES.tobytes(), "shape": [10, 2], "starts": starts, **BY}]
    tables = {
        "image_patches": pa.Table.from_pylist(pictures, schema=schema.body("image_patches")),
        "audio_states": pa.Table.from_pylist(sounds, schema=schema.body("audio_states")),
    }
    home = Home.open(CatalogSettings(root=tmp_path / "home"))
    home.publish_origin(STAGE, "features", 5, tables, {})
    return home


def place(media: str, start: int, end: int, table: str = "image_patches", **more: Any) -> dict[str, Any]:
    seconds = {"seconds_start": None, "seconds_end": None}
    return {"start": start, "end": end, "table": table, "media_id": media, **BY, **seconds, **more}


def pieces(home: Home, text: str, *places: dict[str, Any]) -> list[Piece | list[Any]]:
    (found,) = interleave(home.view(), [{"text": text, "features": list(places)}])
    return [piece if isinstance(piece, str) else piece.values.tolist() for piece in found]


def test_placeholders_give_way_and_offsets_without_one_cut_nothing(home: Home) -> None:
    shown = PATCHES.tolist()
    assert pieces(home, "One.<image>Two.", place("picture", 4, 11)) == ["One.", shown, "Two."]
    assert pieces(home, "One.Two.", place("picture", 4, 4), place("picture", 8, 8)) == ["One.", shown, "Two.", shown]
    assert pieces(home, "One <image> here.") == ["One <image> here."]


def test_a_film_gives_the_frame_that_is_shown_and_a_recording_the_seconds_that_are_said(home: Home) -> None:
    frame = place("film", 0, 0, seconds_start=5.0, seconds_end=5.0)
    assert pieces(home, "", frame) == [(PATCHES + 5).tolist()]
    assert pieces(home, "", place("talk", 0, 0, "audio_states")) == [STATES.tolist()]
    first = place("talk", 0, 0, "audio_states", seconds_start=0.7, seconds_end=8.0)
    last = place("talk", 0, 0, "audio_states", seconds_start=8.0, seconds_end=9.3)
    assert pieces(home, "", first, last) == [STATES[1:5].tolist(), STATES[5:7].tolist()]


def test_what_is_gone_or_damaged_is_said(home: Home) -> None:
    with pytest.raises(InputError, match=r"picture has no live row by other@r; run headrace run"):
        pieces(home, "", place("picture", 0, 0, model="other"))
    with pytest.raises(Corrupt, match=r"the row of short does not have the shape that it says"):
        pieces(home, "", place("short", 0, 0))
