"""Clips in shared windows: each has a place of its own, and gets back what is in it and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.packing import FRAMES_PER_STATE, GAP_FRAMES, WINDOW_FRAMES, pack, slot_frames

LENGTHS = st.lists(st.integers(1, WINDOW_FRAMES), max_size=40)


@given(LENGTHS, st.data())
def test_every_clip_gets_back_its_own_states_and_no_other(lengths: list[int], data: st.DataObject) -> None:
    alone = data.draw(st.sets(st.sampled_from(range(len(lengths)))) if lengths else st.just(set()))
    slots = pack(lengths, alone)
    windows = {slot.window for slot in slots}
    assert windows == set(range(len(windows)))  # none is empty
    written = np.full((len(windows), WINDOW_FRAMES), -1)
    for number, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
        place = written[slot.window, slot.start : slot.start + slot.frames]
        assert len(place) == slot.frames >= length
        assert (place == -1).all()  # nobody else's
        place[:] = number
    states = written[:, ::FRAMES_PER_STATE]
    for number, slot in enumerate(slots):
        assert set(states[slot.window, slot.states]) == {number}
        assert slot.states.stop - slot.states.start == slot.frames // FRAMES_PER_STATE
        if number in alone:
            assert sum(other.window == slot.window for other in slots) == 1


@given(LENGTHS)
def test_silence_parts_two_clips_of_a_window(lengths: list[int]) -> None:
    slots = pack(lengths)
    for slot, length in zip(slots, lengths, strict=True):
        shares = sum(other.window == slot.window for other in slots) > 1
        assert slot.frames - length >= GAP_FRAMES if shares else slot.frames == WINDOW_FRAMES


@given(LENGTHS)
def test_packing_saves_windows_and_depends_on_the_lengths_alone(lengths: list[int]) -> None:
    slots = pack(lengths)
    assert slots == pack(list(lengths))
    needed = sum(map(slot_frames, lengths))
    used = len({slot.window for slot in slots})
    assert needed / WINDOW_FRAMES <= used <= max(1, 2 * needed / WINDOW_FRAMES) if slots else used == 0  # first fit


def test_a_clip_longer_than_a_window_is_refused() -> None:
    assert slot_frames(WINDOW_FRAMES) == WINDOW_FRAMES
    with pytest.raises(ValueError, match="3001 frames"):
        slot_frames(WINDOW_FRAMES + 1)
