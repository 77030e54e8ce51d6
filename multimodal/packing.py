"""Several clips in one window: Whisper hears 30 seconds at a time, and takes as long for two."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

WINDOW_FRAMES = 3000  # of a log-mel spectrogram, 10 ms each
FRAMES_PER_STATE = 2  # the encoder's second convolution halves them
GAP_FRAMES = 100  # silence kept behind a clip, so that the next is heard as something new
SLOT_FRAMES = 20  # a clip's place is a multiple of these


@dataclass(frozen=True)
class Slot:
    """The place of one clip: `frames` of a window's spectrogram from `start`."""

    window: int
    start: int
    frames: int

    @property
    def states(self) -> slice:
        """The part of the window's encoder states that is this clip's."""
        return slice(self.start // FRAMES_PER_STATE, (self.start + self.frames) // FRAMES_PER_STATE)


def slot_frames(frames: int) -> int:
    """Return the length of the place for a clip of so many frames."""
    if frames > WINDOW_FRAMES:
        raise ValueError(f"a clip of {frames} frames is longer than a window")
    return min(-(-(frames + GAP_FRAMES) // SLOT_FRAMES) * SLOT_FRAMES, WINDOW_FRAMES)


def pack(lengths: Sequence[int], alone: Collection[int] = ()) -> list[Slot]:
    """Give each clip, named by its length in frames, a place of its own: longest first, in the first window with room.

    Those whose indexes are in `alone` have a window to themselves; who is alone has the whole of it. The answer depends
    on nothing else; windows are numbered from 0, and none is empty.
    """
    slots: dict[int, Slot] = {}
    filled: list[int] = []  # frames taken, by window
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        size = WINDOW_FRAMES if index in alone else slot_frames(lengths[index])
        window = next((number for number, taken in enumerate(filled) if taken + size <= WINDOW_FRAMES), len(filled))
        if window == len(filled):
            filled.append(0)
        slots[index] = Slot(window, filled[window], size)
        filled[window] += size
    sharing = Counter(slot.window for slot in slots.values())
    return [
        slots[index] if sharing[slots[index].window] > 1 else Slot(slots[index].window, 0, WINDOW_FRAMES)
        for index in range(len(lengths))
    ]
