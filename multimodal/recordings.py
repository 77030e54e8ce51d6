"""Recordings become transcripts, or the reason why not."""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog.pii import mask_pieces
from multimodal.audio import SAMPLE_RATE
from multimodal.decode import Reject

if TYPE_CHECKING:
    from multimodal.clips import Clip
    from multimodal.transcriber import Transcript

Row: TypeAlias = dict[str, Any]
Samples: TypeAlias = NDArray[np.float32]
OpenSound: TypeAlias = Callable[[Row], "Samples | Reject"]  # a media row → its sound

GROUP_SECONDS = 1200.0  # of speech that is in memory at once; whose clips share windows


class Transcribe(Protocol):
    """What `transcriber.Transcriber` does."""

    num_threads: int

    def find_speech(self, samples: Samples) -> "list[Clip]":
        """Cut a recording into clips of speech, on any thread."""

    def __call__(self, recordings: "Sequence[Sequence[Clip]]") -> "list[Transcript]":
        """Transcribe recordings, each given as its clips."""


@dataclass(frozen=True)
class Origin:
    """Who heard it: stored with every transcript."""

    backend: str
    model: str
    revision: str


@dataclass(frozen=True)
class Result:
    """One recording's rows."""

    transcript: Row
    states: Row | None  # of `audio_states`, where they are kept and somebody speaks


@dataclass(frozen=True)
class _Sound:
    media_id: str
    duration: float
    pcm_sha256: str
    clips: "list[Clip]"

    @property
    def speech(self) -> float:
        """Seconds of speech."""
        return sum(len(clip.samples) for clip in self.clips) / SAMPLE_RATE


def transcribe_rows(
    media: Sequence[Row],
    transcribe: Transcribe,
    origin: Origin,
    open_sound: OpenSound,
    kinds: Collection[str] = (),
) -> list[Result | Reject]:
    """Return a Result or a Reject for each media row, in order.

    Personal data of the given kinds (catalog.pii) is masked in texts, segments, words and what was dropped. Sound is
    opened ahead of the model; at most `GROUP_SECONDS` of speech, and one recording more, wait for it.
    """

    def prepare(row: Row) -> _Sound | Reject:
        samples = open_sound(row)
        if isinstance(samples, Reject):
            return samples
        clips = transcribe.find_speech(samples)
        return _Sound(row["media_id"], len(samples) / SAMPLE_RATE, pcm_sha256(samples), clips)

    results: list[Result | Reject] = []
    for group in _groups(_ahead(prepare, media, transcribe.num_threads)):
        sounds = [item for item in group if isinstance(item, _Sound)]
        heard = iter(transcribe([sound.clips for sound in sounds]))
        results += [item if isinstance(item, Reject) else _result(item, next(heard), origin, kinds) for item in group]
    return results


def _ahead(prepare: Callable[[Row], _Sound | Reject], media: Sequence[Row], threads: int) -> Iterator[_Sound | Reject]:
    """Prepare rows on threads, no more than these many ahead of what is asked for; yield them in order."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Sound | Reject]] = deque()
        for row in media:
            waiting.append(pool.submit(prepare, row))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _groups(items: Iterator[_Sound | Reject]) -> Iterator[list[_Sound | Reject]]:
    """Join consecutive items until they hold `GROUP_SECONDS` of speech: who shares windows depends on rows alone."""
    group: list[_Sound | Reject] = []
    speech = 0.0
    for item in items:
        group.append(item)
        speech += 0.0 if isinstance(item, Reject) else item.speech
        if speech >= GROUP_SECONDS:
            yield group
            group, speech = [], 0.0
    if group:
        yield group


def _result(sound: _Sound, heard: "Transcript", origin: Origin, kinds: Collection[str]) -> Result:
    transcript = {
        "media_id": sound.media_id,
        "duration": sound.duration,
        "text": heard.text,
        "language": heard.language,
        "language_probability": heard.language_probability,
        "segments": heard.segments,
        "backend": origin.backend,
        "model": origin.model,
        "revision": origin.revision,
        "pcm_sha256": sound.pcm_sha256,
        "dropped": heard.dropped,
    }
    states = None
    if heard.states is not None:
        data, shape = heard.states.astype("<f2").tobytes(), list(heard.states.shape)
        states = {"media_id": sound.media_id, "data": data, "shape": shape, "starts": heard.starts}
        states |= {"model": origin.model, "revision": origin.revision}
    return Result(masked(transcript, kinds), states)


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
    unheard = [row | {"text": _mask_runs([[row["text"]]], kinds)[0]} for row in transcript["dropped"]]
    text = " ".join(text.strip() for text in texts if text.strip())
    return transcript | {"text": text, "segments": told, "dropped": unheard}


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
