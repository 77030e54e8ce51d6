"""When not to believe what Whisper says: it invents words where nobody speaks, and gets stuck on some."""

import zlib
from collections.abc import Sequence
from enum import StrEnum
from typing import TypeAlias

Span: TypeAlias = tuple[float, float]  # seconds, half open

# Whisper's own limits (Radford et al. 2022, section 4.5).
MIN_LOGPROB = -1.0
MAX_COMPRESSION = 2.4
MAX_NO_SPEECH = 0.6
# A loop that is too short to compress: as many times over as nobody says a thing on purpose.
MAX_NGRAM = 8
MAX_REPEATS = 5
PUNCTUATION = ".,;:!?…。，！？"


class Doubt(StrEnum):
    """Why a segment was dropped from a transcript."""

    NO_SPEECH = "no_speech"  # the model itself says so, and is unsure of the words
    REPETITION = "repetition"  # the words go round in a circle, however they are decoded
    NO_VOICE = "no_voice"  # the voice detector hears nobody at that time


def compression_ratio(text: str) -> float:
    """Return how many times smaller zlib makes a text; above 2.4 it repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def is_stuck(text: str) -> bool:
    """Tell whether the same words, one to eight of them, come more than five times in a row."""
    words = text.lower().split() if " " in text.strip() else list(text.strip())  # Chinese has no spaces
    for size in range(1, MAX_NGRAM + 1):
        run = 0  # words in a row that are equal to those `size` before them
        for index in range(size, len(words)):
            run = run + 1 if words[index] == words[index - size] else 0
            if run >= size * MAX_REPEATS:
                return True
    return False


def is_repetitive(text: str) -> bool:
    """Tell whether a text repeats itself, by its compression or by a run of equal words."""
    return compression_ratio(text) > MAX_COMPRESSION or is_stuck(text)


def is_said_twice(text: str) -> bool:
    """Tell whether the second half of a text repeats the first: Whisper does so before a long silence."""
    words = [word.strip(PUNCTUATION).lower() for word in text.split()]
    half = len(words) // 2
    return half >= 2 and words[:half] == words[half : 2 * half] and len(words) == 2 * half


def is_doubtful(text: str, avg_logprob: float) -> bool:
    """Tell whether a decoding is improbable or repeats itself, and is worth another try."""
    return avg_logprob < MIN_LOGPROB or is_repetitive(text)


def doubt(text: str, avg_logprob: float, no_speech_prob: float) -> Doubt | None:
    """Return why a decoding is dropped as a whole, or None."""
    if no_speech_prob > MAX_NO_SPEECH and avg_logprob < MIN_LOGPROB:
        return Doubt.NO_SPEECH
    return Doubt.REPETITION if is_repetitive(text) else None


def overlaps(start: float, end: float, spans: Sequence[Span]) -> bool:
    """Tell whether a time shares an instant with one of the spans."""
    return any(start < after and before < end for before, after in spans)
