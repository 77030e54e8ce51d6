"""Recordings become transcripts, or the reason why not."""

import queue
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog.errors import Corrupt
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
) -> list[Row | Reject]:
    """Return a `transcripts` row or a Reject for each media row (media_id and locator), in order."""
    idle: queue.SimpleQueue[Transcribe] = queue.SimpleQueue()
    for transcriber in transcribers:
        idle.put(transcriber)

    def hear(rows: Sequence[Row]) -> list[Row | Reject]:
        transcriber = idle.get()
        try:
            return [_transcribe(row, transcriber, settings, origin, read_payload) for row in rows]
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
    }
