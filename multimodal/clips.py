"""Where a recording is cut: clips of at most 30 seconds with speech in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multimodal.audio import SAMPLE_RATE
from multimodal.doubts import Span, overlaps
from multimodal.engines import Samples, num_frames
from multimodal.packing import WINDOW_FRAMES

WINDOW = 30.0  # seconds that Whisper hears at once
GAP = 4.0  # a longer silence ends a clip
PAD = 0.2  # kept around speech, so that no consonant is cut


@dataclass(frozen=True)
class Clip:
    """Up to 30 seconds of a recording with speech in them, from `start` (seconds)."""

    start: float
    samples: Samples
    spans: tuple[Span, ...]  # where the speech is, in seconds of the recording

    @property
    def frames(self) -> int:
        """How many frames of the spectrogram it has."""
        return min(num_frames(self.samples), WINDOW_FRAMES)


def cut_clips(samples: Samples, spans: Sequence[Span]) -> list[Clip]:
    """Cut a recording's speech out, of which the spans are all; the clips hold copies of the samples."""
    clips = []
    for start, end in join_spans(spans, len(samples) / SAMPLE_RATE):
        inside = tuple(span for span in spans if overlaps(*span, [(start, end)]))
        clips.append(Clip(start, np.array(samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]), inside))
    return clips


def join_spans(spans: Sequence[Span], duration: float) -> list[Span]:
    """Join spans of speech into windows of at most 30 s (spans are never longer), padded within the recording."""
    windows: list[Span] = []
    ends = [-PAD * 2, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans[1:]), duration + PAD * 2]
    for (start, end), before, after in zip(spans, ends, starts, strict=False):
        start = max(0.0, start - min(PAD, (start - before) / 2))  # never into the speech next to it
        end = min(duration, end + min(PAD, (after - end) / 2))
        if windows and start - windows[-1][1] <= GAP and end - windows[-1][0] <= WINDOW:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows
