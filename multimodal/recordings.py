"""Recordings become transcripts, or the reason why not."""

import hashlib
import queue
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog.errors import Corrupt
from catalog.pii import mask_pieces
from catalog.schema import Reason
from multimodal.audio import SAMPLE_RATE, decode_audio
from multimodal.chunks import map_chunks
from multimodal.decode import Reject
from multimodal.settings import TranscribeSettings

if TYPE_CHECKING:
    from multimodal.speech import Transcript

Row: TypeAlias = dict[str, Any]
ReadPayload: TypeAlias = Callable[[Row, int], bytes]  # a media row, the most bytes to read
Transcribe: TypeAlias = "Callable[[NDArray[np.float32]], Transcript]"


@dataclass(frozen=True)
class Origin:
    """Who heard it: stored with every transcript."""

    backend: str
    model: str
    revision: str


def transcribe_rows(
    media: Sequence[Row],
    transcribers: Sequence[Transcribe],
    settings: TranscribeSettings,
    origin: Origin,
    read_payload: ReadPayload,
    kinds: Collection[str] = (),
) -> list[Row | Reject]:
    """Return a `transcripts` row or a Reject for each media row (media_id and locator), in order.

    Personal data of the given kinds (catalog.pii) is masked in texts, segments and words.
    """
    idle: queue.SimpleQueue[Transcribe] = queue.SimpleQueue()
    for transcriber in transcribers:
        idle.put(transcriber)

    def hear(rows: Sequence[Row]) -> list[Row | Reject]:
        transcriber = idle.get()
        try:
            results = [_transcribe(row, transcriber, settings, origin, read_payload) for row in rows]
            return [item if isinstance(item, Reject) else masked(item, kinds) for item in results]
        finally:
            idle.put(transcriber)

    return map_chunks(hear, media, 1, len(transcribers))


def _transcribe(
    row: Row, transcriber: Transcribe, settings: TranscribeSettings, origin: Origin, read_payload: ReadPayload
) -> Row | Reject:
    try:
        payload = read_payload(row, settings.max_bytes)
    except Corrupt as error:
        return Reject(Reason.MISSING_PAYLOAD, str(error))
    samples = decode_audio(payload, settings.max_seconds)
    if isinstance(samples, Reject):
        return samples
    heard = transcriber(samples)
    return {
        "media_id": row["media_id"],
        "duration": len(samples) / SAMPLE_RATE,
        "text": heard.text,
        "language": heard.language,
        "language_probability": heard.language_probability,
        "segments": heard.segments,
        "backend": origin.backend,
        "model": origin.model,
        "revision": origin.revision,
        "pcm_sha256": pcm_sha256(samples),
    }


def pcm_sha256(samples: NDArray[np.float32]) -> str:
    """Hash samples in [-1, 1] as 16-bit little-endian PCM: equal for every lossless container of one recording."""
    return hashlib.sha256(np.rint(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes()).hexdigest()


def masked(transcript: Row, kinds: Collection[str]) -> Row:
    """Mask a `transcripts` row; what is said over several words or segments keeps all of them and their times."""
    segments = transcript["segments"]
    texts = _mask_runs([[segment["text"]] for segment in segments], kinds)
    words = iter(_mask_runs([[word["word"] for word in segment["words"] or []] for segment in segments], kinds))
    told = [
        segment | {"text": text, "words": [word | {"word": next(words)} for word in segment["words"] or []]}
        for segment, text in zip(segments, texts, strict=True)
    ]
    return transcript | {"text": " ".join(text.strip() for text in texts if text.strip()), "segments": told}


def _mask_runs(runs: Sequence[Sequence[str]], kinds: Collection[str]) -> list[str]:
    """Mask the pieces of all runs as one text, runs being told apart by white space; return them in order."""
    pieces: list[str] = []
    kept: list[int] = []
    for run in runs:
        apart = not run or not pieces or run[0][:1].isspace() or pieces[-1][-1:].isspace()
        pieces.append("" if apart else " ")
        kept += range(len(pieces), len(pieces) + len(run))
        pieces += run
    masked_pieces = mask_pieces(pieces, kinds)
    return [masked_pieces[index] for index in kept]
