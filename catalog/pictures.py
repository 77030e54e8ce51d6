"""Pictures that show the same: close CLIP vectors name candidates, a perceptual hash and the thumbnails decide."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from catalog.decisions import Match
from catalog.home import View
from catalog.neighbours import Near
from catalog.settings import DedupSettings

BITS = 64  # of a perceptual hash
SIDE = 64  # pixels to which thumbnails are brought before they are correlated


@dataclass
class _Picture:
    """What is compared of a picture."""

    phash: int | None
    thumbnail: bytes | None

    @cached_property
    def grey(self) -> NDArray[np.float32] | None:
        """Its thumbnail's grey values, of mean 0 and length 1; None where all are equal or there is none."""
        if self.thumbnail is None:
            return None
        from PIL import Image

        with Image.open(io.BytesIO(self.thumbnail)) as image:
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
        values = np.asarray(small, np.float32).reshape(-1)
        values = values - values.mean()
        length = float(np.linalg.norm(values))
        return values / np.float32(length) if length else None


def matches(view: View, nearby: Sequence[Near], settings: DedupSettings) -> Iterator[tuple[str, str, Match]]:
    """Yield which of these pictures are duplicates, or are to be proposed as such.

    A pair is one if its perceptual hashes (DCT of 32 × 32 grey values, 64 bits) differ in few bits, or its vectors are
    very close as after a small crop, and if the thumbnails correlate: two screenshots of one program agree in all but
    that. What is turned or mirrored is proposed: an arrow to the left is none to the right.
    """
    seen = _pictures(view, {end for near in nearby for end in (near.one, near.other)})
    for near in nearby:
        if near.one not in seen or near.other not in seen:
            continue
        by = (near.model, near.revision)
        one, other = seen[near.one], seen[near.other]
        differ = BITS if one.phash is None or other.phash is None else (one.phash ^ other.phash).bit_count()
        same_hash, same_vector = differ <= settings.phash_distance, near.score >= settings.image_threshold
        if (same_hash or same_vector) and correlation(one, other) >= settings.image_correlation:
            if same_hash:
                match = Match("image", "phash", 1 - differ / BITS, 1 - settings.phash_distance / BITS, *by)
            else:
                match = Match("image", "clip", near.score, settings.image_threshold, *by)
            yield near.one, near.other, match
        elif near.score >= settings.image_propose:
            yield near.one, near.other, Match("image", "clip", near.score, settings.image_propose, *by, True)
        elif (score := turned(one, other)) >= settings.image_turned:
            yield near.one, near.other, Match("image", "turned", score, settings.image_turned, *by, True)


def correlation(one: _Picture, other: _Picture) -> float:
    """Return the correlation of the grey values of two thumbnails, which light and contrast do not change; else 0."""
    if one.grey is None or other.grey is None:
        return 0.0
    return float(one.grey @ other.grey)


def turned(one: _Picture, other: _Picture) -> float:
    """Return the greatest correlation of two thumbnails if one may be turned by quarters and mirrored."""
    if one.grey is None or other.grey is None:
        return 0.0
    upright = other.grey.reshape(SIDE, SIDE)
    sides = (np.rot90(side, quarters) for side in (upright, upright[:, ::-1]) for quarters in range(4))
    return max(float(one.grey @ side.reshape(-1)) for side in sides)


def _pictures(view: View, ids: set[str]) -> dict[str, _Picture]:
    """Look pictures up; a film is none, though one of its key frames may look like a picture."""
    rows = view.lookup("image_features", "media_id", ids, ["media_id", "phash", "frame_time"]).to_pylist()
    films = {row["media_id"] for row in rows if row["frame_time"] is not None}
    hashes = {row["media_id"]: int(row["phash"], 16) for row in rows if row["phash"]}
    small = view.lookup("thumbnails", "media_id", ids, ["media_id", "webp"])
    thumbnails = dict(zip(small["media_id"].to_pylist(), small["webp"].to_pylist(), strict=True))
    return {name: _Picture(hashes.get(name), thumbnails.get(name)) for name in ids - films}


def sizes(view: View, ids: set[str]) -> dict[str, int]:
    """Return the numbers of pixels of pictures."""
    rows = view.lookup("image_features", "media_id", ids, ["media_id", "width", "height"]).to_pylist()
    return {row["media_id"]: (row["width"] or 0) * (row["height"] or 0) for row in rows}
