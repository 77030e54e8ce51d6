"""Probabilities of tags, and how far they mean what they say."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multimodal.tags import Calibration, best, calibration_error, probabilities

LABELS = np.eye(3, dtype=np.float32)


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    temperature=st.floats(0.1, 10), none=st.none() | st.floats(-1, 1),
)  # fmt: skip
def test_they_are_probabilities_in_the_order_of_the_cosines(
    cosines: list[float], temperature: float, none: float | None
) -> None:
    vector = np.array([cosines], np.float32)
    odds = probabilities(vector, LABELS, 20.0, Calibration(temperature, none))[0]
    assert (odds >= 0).all()
    assert odds.sum() <= 1 + 1e-9
    if none is None:
        assert abs(odds.sum() - 1) < 1e-9
    order = np.argsort(cosines)
    assert (np.diff(odds[order]) >= -1e-12).all()


def test_none_of_these_takes_what_no_label_deserves() -> None:
    far = np.array([[0.1, 0.1, 0.1]], np.float32)
    assert probabilities(far, LABELS, 100.0, Calibration()).max() > 0.3
    assert probabilities(far, LABELS, 100.0, Calibration(none=0.3)).sum() < 0.01


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is_true() -> None:
    sure, right = np.full(100, 0.95), np.arange(100) < 95
    assert calibration_error(sure, right) < 1e-9
    assert abs(calibration_error(sure, np.zeros(100, bool)) - 0.95) < 1e-9


def test_the_best_come_first_and_ties_by_their_place() -> None:
    found = best(np.array([0.2, 0.5, 0.2]), ["a", "b", "c"], 2)
    assert [item["label"] for item in found] == ["b", "a"]
