"""Pictures that show the same: close CLIP vectors, and a perceptual hash that agrees or vectors that leave no doubt."""

from collections.abc import Iterator, Sequence

from catalog.decisions import Match
from catalog.home import View
from catalog.neighbours import Near
from catalog.settings import DedupSettings

BITS = 64  # of a perceptual hash


def matches(view: View, nearby: Sequence[Near], settings: DedupSettings) -> Iterator[tuple[str, str, Match]]:
    """Yield which of these pictures are duplicates, or are to be proposed as such.

    A pair is one if its perceptual hashes (DCT of 32 × 32 grey values, 64 bits) differ in few bits; where they differ
    in more, as after cropping, the cosine decides.
    """
    ids = {end for near in nearby for end in (near.one, near.other)}
    rows = view.lookup("image_features", "media_id", ids, ["media_id", "phash"]).to_pylist()
    hashes = {row["media_id"]: int(row["phash"], 16) for row in rows if row["phash"]}
    for near in nearby:
        by = (near.model, near.revision)
        differ = (
            (hashes[near.one] ^ hashes[near.other]).bit_count() if {near.one, near.other} <= hashes.keys() else BITS
        )
        if differ <= settings.phash_distance:
            score, threshold = 1 - differ / BITS, 1 - settings.phash_distance / BITS
            yield near.one, near.other, Match("image", "phash", score, threshold, *by)
        elif near.score >= settings.image_propose:
            proposed = near.score < settings.image_threshold
            threshold = settings.image_propose if proposed else settings.image_threshold
            yield near.one, near.other, Match("image", "clip", near.score, threshold, *by, proposed)


def sizes(view: View, ids: set[str]) -> dict[str, int]:
    """Return the numbers of pixels of pictures."""
    rows = view.lookup("image_features", "media_id", ids, ["media_id", "width", "height"]).to_pylist()
    return {row["media_id"]: (row["width"] or 0) * (row["height"] or 0) for row in rows}
