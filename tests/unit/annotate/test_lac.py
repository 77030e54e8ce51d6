"""The decoding of a linear-chain CRF: against brute force, and with company."""

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate.lac import Lac, best_paths, marginals
from annotate.nlp import load_lac


@pytest.fixture(scope="module")
def lac() -> Lac:
    return load_lac()


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_paths_and_marginals_are_those_of_all_paths_weighed_one_by_one(number: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    emissions = rng.normal(size=(number, length, 3)).astype(np.float32)
    moves = rng.normal(size=(3, 3)).astype(np.float32)
    paths, odds = best_paths(emissions, moves), marginals(emissions, moves)
    for row in range(number):
        weights = {path: _weight(path, emissions[row], moves) for path in product(range(3), repeat=length)}
        assert tuple(paths[row]) == max(weights, key=lambda path: weights[path])
        total = sum(weights.values())
        for place, tag in product(range(length), range(3)):
            share = sum(weight for path, weight in weights.items() if path[place] == tag) / total
            assert odds[row, place, tag] == pytest.approx(share, abs=1e-5)


def test_every_character_is_in_one_word_and_names_have_their_tags(lac: Lac) -> None:
    text = "清华大学教授李明华在北京工作。"
    (words,) = lac.words([text])
    assert "".join(text[word.start : word.end] for word in words) == text
    assert [(text[word.start : word.end], word.tag) for word in words if word.tag.isupper()] == [
        ("清华大学", "ORG"),
        ("李明华", "PER"),
        ("北京", "LOC"),
    ]
    assert all(0 < word.score <= 1 for word in words)


def test_a_sentence_keeps_its_place_and_its_words_whatever_its_company(lac: Lac) -> None:
    sentences = ["北京。", "马云是杭州人，住在浙江省。", "苏"] * 15
    alone = {sentence: lac.words([sentence])[0] for sentence in set(sentences)}
    found = lac.words(sentences)
    assert [[(word.start, word.end, word.tag) for word in words] for words in found] == [
        [(word.start, word.end, word.tag) for word in alone[sentence]] for sentence in sentences
    ]
    assert lac.words([]) == []


def test_the_files_tell_apart_the_separators_that_they_list(tmp_path: Path) -> None:
    from annotate.lac import _pairs

    (tmp_path / "x.dic").write_text("0\ta\n1\t\u2028\n2\t\x85\n", encoding="utf-8")
    assert list(_pairs(tmp_path / "x.dic")) == [("0", "a"), ("1", "\u2028"), ("2", "\x85")]


def _weight(path: tuple[int, ...], emissions: np.ndarray, moves: np.ndarray) -> float:
    steps = sum(moves[one, other] for one, other in pairwise(path))
    return float(np.exp(sum(emissions[place, tag] for place, tag in enumerate(path)) + steps))
