"""What makes a transcript doubtful, and why segments are dropped."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.doubts import Doubt, compression_ratio, doubt, is_doubtful, is_said_twice, is_stuck, overlaps

SENTENCE = "Please check the number and dial again."


def test_improbable_and_repeating_words_are_doubtful() -> None:
    assert not is_doubtful(SENTENCE, -0.3)
    assert is_doubtful(SENTENCE, -1.01)
    assert is_doubtful(SENTENCE * 9, -0.3)


@given(st.text(min_size=1))
def test_the_compression_ratio_is_zlibs(text: str) -> None:
    assert compression_ratio(text) == len(text.encode()) / len(zlib.compress(text.encode()))


@pytest.mark.parametrize(
    ("text", "stuck"),
    [
        ("you " * 6, True), ("no no no no no", False), ("dial five five five one two", False),
        ("to the moon " * 6, True), ("to the moon " * 5, False), ("谢谢" * 6, True), ("谢谢大家观看", False),
        ("", False), ("Thank you. " * 6 + "Goodbye.", True),
    ],
)  # fmt: skip
def test_a_loop_too_short_to_compress_is_seen(text: str, stuck: bool) -> None:
    assert is_stuck(text) is stuck


@given(st.lists(st.text("ab", min_size=1), min_size=1, max_size=4), st.integers(6, 9))
def test_any_words_six_times_over_are_a_loop(words: list[str], times: int) -> None:
    assert is_stuck(" ".join(words * times + ["end"]))


def test_a_text_said_twice_is_seen_whatever_its_punctuation() -> None:
    assert is_said_twice("To exit the menu. to exit the menu")
    assert not is_said_twice("To exit the menu, exit.")
    assert not is_said_twice("No no")  # one word may be meant
    assert not is_said_twice("")


def test_a_decoding_is_dropped_for_a_reason() -> None:
    assert doubt(SENTENCE, -0.3, 0.1) is None
    assert doubt(SENTENCE, -0.3, 0.9) is None  # sure of its words
    assert doubt(SENTENCE, -1.2, 0.1) is None  # unsure, but somebody speaks
    assert doubt(SENTENCE, -1.2, 0.7) is Doubt.NO_SPEECH
    assert doubt("you " * 30, -0.1, 0.0) is Doubt.REPETITION


def test_a_segment_where_nobody_speaks_does_not_overlap() -> None:
    assert overlaps(1, 2, [(0, 0.5), (1.9, 3)])
    assert not overlaps(1, 2, [(0, 1), (2, 3)])
