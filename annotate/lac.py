"""Baidu's LAC on ONNX Runtime: words, parts of speech and names of Chinese sentences (Jiao et al. 2018, 1807.01882)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Floats = NDArray[np.float32]
BATCH = 32  # sentences at once; never those of two documents, so that a row is the same whatever its company


@dataclass(frozen=True)
class Word:
    """One word: its code-point range, LAC's tag, and the least marginal probability of its characters' tags."""

    start: int
    end: int
    tag: str
    score: float


class Lac:
    """The tagger: a GRU's emissions by ONNX Runtime, decoded by its CRF here."""

    def __init__(self, session: "InferenceSession", folder: Path) -> None:
        self._session = session
        self._ids = {value: int(key) for key, value in _pairs(folder / "word.dic")}
        self._unknown = self._ids["OOV"]
        self._narrow = dict(_pairs(folder / "q2b.dic"))  # full-width letters, digits and marks
        names = {
            int(key): tag for key, tag in _pairs(folder / "tag.dic")
        }  # nr, ns and nt are named again: PER, LOC, ORG
        self._tags = [names[number].partition("-") for number in range(len(names))]
        size = len(self._tags)  # the states after them carry no tag: the CRF's start and stop, and aliases
        self._moves: Floats = np.load(folder / "lac_crf_transitions.npy", allow_pickle=False)[:size, :size]

    def words(self, sentences: Sequence[str]) -> list[list[Word]]:
        """Cut sentences into words; every character is in exactly one."""
        by_length: dict[int, list[int]] = {}
        for index, sentence in enumerate(sentences):
            by_length.setdefault(len(sentence), []).append(index)
        found: dict[int, list[Word]] = {}
        for places in by_length.values():  # the network reads padding as text: sentences of one length share a batch
            for first in range(0, len(places), BATCH):
                chunk = places[first : first + BATCH]
                found |= zip(chunk, self._chunk([sentences[index] for index in chunk]), strict=True)
        return [found[index] for index in range(len(sentences))]

    def _chunk(self, sentences: Sequence[str]) -> Iterator[list[Word]]:
        ids = np.array([[self._number(char) for char in sentence] for sentence in sentences], np.int64)
        lengths = np.full(len(sentences), ids.shape[1], np.int64)
        emissions = self._session.run(None, {"token_ids": ids, "length": lengths})[0][:, :, : len(self._tags)]
        for path, odds in zip(best_paths(emissions, self._moves), marginals(emissions, self._moves), strict=True):
            yield list(self._words(path, odds[np.arange(len(path)), path]))

    def _number(self, character: str) -> int:
        return self._ids.get(self._narrow.get(character, character), self._unknown)

    def _words(self, path: NDArray[np.int64], chances: Floats) -> Iterator[Word]:
        """Join each tag's beginning with what continues it."""
        begins = [*(place for place, tag in enumerate(path) if place == 0 or self._tags[tag][2] != "I"), len(path)]
        for start, end in pairwise(begins):
            yield Word(start, end, self._tags[path[start]][0], float(chances[start:end].min()))


def best_paths(emissions: Floats, moves: Floats) -> NDArray[np.int64]:
    """Return the most probable tag of each character, [N, T], of emissions [N, T, tags], by Viterbi."""
    best = emissions[:, 0]
    came_from = []
    for place in range(1, emissions.shape[1]):
        scores = best[:, :, None] + moves
        came_from.append(scores.argmax(axis=1))
        best = scores.max(axis=1) + emissions[:, place]
    path = [best.argmax(axis=1)]
    for before in reversed(came_from):
        path.append(np.take_along_axis(before, path[-1][:, None], axis=1)[:, 0])
    return np.stack(path[::-1], axis=1)


def marginals(emissions: Floats, moves: Floats) -> Floats:
    """Return the probability of each tag at each character, [N, T, tags], by the scaled forward-backward algorithm."""
    odds = np.exp(emissions - emissions.max(axis=2, keepdims=True), dtype=np.float64)
    step = np.exp(moves - moves.max(), dtype=np.float64)
    forward, backward = [_shares(odds[:, 0])], [np.ones_like(odds[:, 0])]
    for place in range(1, odds.shape[1]):
        forward.append(_shares((forward[-1] @ step) * odds[:, place]))
        backward.append(_shares((backward[-1] * odds[:, -place]) @ step.T))
    return np.asarray(_shares(np.stack(forward, axis=1) * np.stack(backward[::-1], axis=1)), np.float32)


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300))


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the two columns of a tab-separated file; the second may be any character, a line separator too."""
    for line in path.read_text(encoding="utf-8").split("\n"):
        key, tab, value = line.partition("\t")
        if tab:
            yield key, value
