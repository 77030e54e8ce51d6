"""What a Whisper implementation does for `speech`: windows in, tokens and the times of words out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multimodal.doubts import compression_ratio
from multimodal.packing import FRAMES_PER_STATE

Samples: TypeAlias = NDArray[np.float32]
Floats: TypeAlias = NDArray[np.float32]
Row: TypeAlias = dict[str, Any]  # one segment, in the shape of schema.SEGMENT

HOP = 160  # samples a frame of the spectrogram
FRAME_SECONDS = 0.01
TIMESTAMP_SECONDS = 0.02  # a timestamp token counts these, as does a state of the encoder
RETRY_BEAM = 5


@dataclass(frozen=True)
class Decoding:
    """What was heard in one window, as tokens of text and time."""

    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True)
class Sound:
    """What is decoded together: the states [1500, width] of each of N windows.

    With `starts`, the states [S, width] of N clips of any length, each heard from that state of a window on; around it
    is `silence`, the states [1500, width] of a window in which nothing is heard.
    """

    states: Sequence[Floats]
    starts: Sequence[int] | None = None
    silence: Floats | None = None

    def windows(self, starts: Sequence[int] | None = None) -> Floats:
        """Return the states [N, 1500, width] of whole windows, with the clips at `starts` if they are to be moved."""
        if self.starts is None or self.silence is None:
            return np.stack(self.states)
        windows = np.repeat(self.silence[None], len(self.states), axis=0)
        for window, start, states in zip(windows, starts or self.starts, self.states, strict=True):
            window[start : start + len(states)] = states
        return windows


class Engine(Protocol):
    """One Whisper implementation on one thread. Spectrograms are [mels, frames], states [1500, width], float32."""

    is_multilingual: bool

    def spectrogram(self, samples: Samples, frames: int) -> Floats:
        """Return the log-mel spectrogram of samples, silence added up to `frames`."""

    def encode(self, spectrograms: Floats) -> Floats:
        """Encode windows [N, mels, 3000] as states [N, 1500, width]."""

    def hear_language(self, states: Floats) -> tuple[str, float]:
        """Name the language of one window's states, with its probability."""

    def decode(self, sound: Sound, language: str, beam_size: int) -> Sequence[Decoding]:
        """Decode each window without sampling; a clip's first timestamp is where it begins."""

    def retries(self, states: Floats, language: str, seed: int) -> Iterator[Decoding]:
        """Decode one window in other ways, one after another, for a caller that doubts the first."""

    def tokenizer(self, language: str) -> Any:
        """Return the tokenizer of a language."""

    def time_words(self, sound: Sound, num_frames: int, language: str, segments: list[Row]) -> None:
        """Add `words` to the segments of one window or clip: its first `num_frames` are speech; set their times."""


def cut_at_timestamps(decoding: Decoding, tokenizer: Any, start: int, frames: int) -> list[Row]:
    """Split what was heard from state `start` of a window on, in `frames`, at its timestamps into segments.

    Times are seconds from `start`, no later than the end.
    """
    duration = frames * FRAME_SECONDS
    segments: list[Row] = []
    begin, tokens = 0.0, []
    for token in [*decoding.tokens, None]:
        if token is not None and token < tokenizer.timestamp_begin:
            tokens.append(token)
            continue
        time = duration if token is None else (token - tokenizer.timestamp_begin - start) * TIMESTAMP_SECONDS
        end = min(max(time, begin), duration)
        text = [item for item in tokens if item < tokenizer.eot]
        if text:
            segments.append(_segment(decoding, tokenizer.decode(text), text, min(begin, end), end))
        begin, tokens = end, []
    return segments


def _segment(decoding: Decoding, text: str, tokens: list[int], start: float, end: float) -> Row:
    return {
        "seek": 0, "start": start, "end": end, "text": text, "tokens": tokens, "words": [],
        "avg_logprob": decoding.avg_logprob, "no_speech_prob": decoding.no_speech_prob,
        "compression_ratio": compression_ratio(text),
    }  # fmt: skip


def text_of(decoding: Decoding, tokenizer: Any) -> str:
    """Return the words that were heard."""
    text: str = tokenizer.decode([token for token in decoding.tokens if token < tokenizer.eot])
    return text.strip()


def padded(samples: Samples, frames: int) -> Samples:
    """Return samples with silence up to `frames` of the spectrogram."""
    result = np.zeros(frames * HOP, np.float32)
    result[: len(samples)] = samples[: len(result)]
    return result


def num_frames(samples: Samples) -> int:
    """Count the frames that samples take."""
    return -(-len(samples) // HOP)


def num_states(frames: int) -> int:
    """Count the states that frames take."""
    return -(-frames // FRAMES_PER_STATE)
