"""Zero-shot tags: cosines to probabilities that mean what they say, after two numbers fitted to a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """How a model's cosines become probabilities over labels of which none may be right."""

    temperature: float = 1.0  # divides what the model learned (Guo et al. 2017, arXiv 1706.04599); above 1: less sure
    none: float | None = None  # the cosine of "none of these", as of one label more; None: one of them is right


def probabilities(
    vectors: NDArray[np.float32], labels: NDArray[np.float32], scale: float, calibration: Calibration
) -> NDArray[np.float64]:
    """Return each picture's probability of each label, [N, L]; "none of these" has what is missing to 1.

    `scale` is the learned factor of cosines in the softmax (Radford et al. 2021, arXiv 2103.00020).
    """
    cosines = (vectors @ labels.T).astype(np.float64)
    if calibration.none is not None:
        cosines = np.concatenate([cosines, np.full((len(cosines), 1), calibration.none)], axis=1)
    logits = cosines * (scale / calibration.temperature)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))[:, : len(labels)]


def best(scores: NDArray[np.float64], labels: Sequence[str], number: int) -> list[dict[str, Any]]:
    """Return one picture's most probable labels, best first."""
    order = np.argsort(-scores, kind="stable")[:number]
    return [{"label": labels[index], "score": float(scores[index])} for index in order]


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the expected calibration error over equal bins of confidence (Naeini et al., AAAI 2015), 0 to 1."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[place == b].mean() - right[place == b].mean()) * (place == b).mean() for b in set(place)]
    return float(sum(gaps))
