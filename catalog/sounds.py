"""Recordings that are the same: equal samples, or the same words said in the same time."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from catalog import near
from catalog.decisions import Match
from catalog.home import View
from catalog.minhash import tokenize
from catalog.settings import DedupSettings

HEARD = ["media_id", "batch_id", "duration", "text", "language", "pcm_sha256", "model", "revision"]
LONGER = 0.05  # share by which one of two recordings of the same words may be longer
WORDS = 20  # fewer words may well be said twice by two people in the same time: these are only proposed
SAME_SAMPLES = Match("audio", "pcm_sha256", 1.0, 1.0)


def matches(
    root: Path, view: View, settings: DedupSettings, ids: Collection[str], batches: Collection[str]
) -> Iterator[tuple[str, str, Match]]:
    """Yield which recordings are duplicates of some of the `ids`, or are to be proposed as such.

    Their samples are equal, or their transcripts are near-duplicates (see `near`) and they last as long. The
    transcripts are those of these transcribe `batches`.
    """
    asked = view.lookup("transcripts", "media_id", ids, HEARD).to_pylist()
    yield from _equal(view, asked)
    if not settings.minhash:
        return
    index = near.open_index(root, settings, "transcripts")
    index.refresh(view, sorted(batches, key=lambda batch: (view.state.published[batch].seq, batch)))
    proposed = settings.model_copy(update={"threshold": min(settings.threshold, settings.audio_threshold)})
    scores, _ = near.search(index, {(row["media_id"], row["batch_id"]) for row in asked}, proposed)
    heard = view.lookup("transcripts", "media_id", scores.keys(), HEARD).to_pylist()
    by_id = {row["media_id"]: row for row in heard}
    for one, others in scores.items():
        for other, score in others.items():
            if {one, other} <= by_id.keys() and (match := _said(by_id[one], by_id[other], score, proposed)):
                yield one, other, match


def _equal(view: View, asked: list[dict[str, Any]]) -> Iterator[tuple[str, str, Match]]:
    """Yield the recordings of equal samples."""
    hashes = {row["pcm_sha256"] for row in asked if row["pcm_sha256"]}
    same: dict[str, set[str]] = {}
    for row in view.lookup("transcripts", "pcm_sha256", hashes, ["media_id", "pcm_sha256"]).to_pylist():
        same.setdefault(row["pcm_sha256"], set()).add(row["media_id"])
    for row in asked:
        for other in sorted(same.get(row["pcm_sha256"], set()) - {row["media_id"]}):
            yield row["media_id"], other, SAME_SAMPLES


def _said(one: Mapping[str, Any], other: Mapping[str, Any], score: float, settings: DedupSettings) -> Match | None:
    """Judge two recordings of like transcripts."""
    shorter, longer = sorted((one["duration"] or 0.0, other["duration"] or 0.0))
    if longer - shorter > LONGER * longer or one["language"] != other["language"]:
        return None
    few = min(len(tokenize(row["text"] or "")) for row in (one, other)) < WORDS
    proposed = few or score < settings.audio_threshold
    threshold = settings.threshold if proposed else settings.audio_threshold
    return Match("audio", "transcript", score, threshold, one["model"] or "", one["revision"] or "", proposed)


def durations(view: View, ids: set[str]) -> dict[str, int]:
    """Return how long recordings last, in milliseconds."""
    rows = view.lookup("transcripts", "media_id", ids, ["media_id", "duration"]).to_pylist()
    return {row["media_id"]: round(1000 * (row["duration"] or 0.0)) for row in rows}
