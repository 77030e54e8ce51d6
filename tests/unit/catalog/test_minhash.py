"""Token codes, shingles, band keys and exact similarity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import edited, words

from catalog.minhash import FLAGS, NAMED, NUMERAL, Recipe, band_keys, jaccard, tokenize

RECIPE = Recipe(num_bands=32, rows_per_band=4, shingle_words=3, shingle_chars=3)
TEXT = st.text(st.sampled_from("ab c1.汉字かÉ"), max_size=60)


def similarity(one: str, other: str) -> float:
    texts = [tokenize(text) for text in (" ".join(words(9)), other, one)]
    found, turned, same = jaccard(texts, np.array([[2, 1], [1, 2], [0, 0]]), RECIPE).tolist()
    assert found == turned
    assert same == 1.0
    return float(found)


def test_case_and_punctuation_do_not_count() -> None:
    one, other = tokenize("The Quick, brown fox!"), tokenize("the quick brown FOX")
    assert (one >> FLAGS).tolist() == (other >> FLAGS).tolist()
    assert len(one) == 4


def test_chinese_is_taken_by_character_and_other_words_whole() -> None:
    assert len(tokenize("安装 Debian 系统")) == 5
    assert len(tokenize("naïve Émile straße")) == 3


def test_flags_tell_names_and_numbers() -> None:
    codes = tokenize("order 12a of Émile 三")
    assert [bool(code & NUMERAL) for code in codes] == [False, True, False, False, True]
    assert [bool(code & NAMED) for code in codes] == [False, False, False, True, False]


def test_a_code_is_the_same_in_every_process() -> None:
    assert tokenize("Water 7 水").tolist() == [4189654202, 973742612, 1323173569]


@given(TEXT, TEXT)
def test_similarity_is_that_of_the_sets_of_shingles(one: str, other: str) -> None:
    first, second = (
        {tuple(codes[k : k + size]) for k in range(len(codes) - size + 1)}
        for codes in ((tokenize(text) >> FLAGS).tolist() for text in (one, other))
        for size in [3]
    )
    expected = len(first & second) / len(first | second) if first else 0.0
    assert similarity(one, other) == pytest.approx(expected)


def test_texts_with_a_tenth_of_their_words_changed_share_a_band_and_others_do_not() -> None:
    texts = [" ".join(words(150, 150 * k)) for k in range(40)]
    copies = [edited(text, range(5, 150, 10)) for text in texts]
    keys = band_keys([tokenize(text) for text in texts + copies], RECIPE)
    shared = [(keys[k] == keys[40 + k]).any() for k in range(40)]
    assert sum(shared) >= 36  # similarity 0.54: 1 - (1 - 0.54^4)^32 = 0.94 of them
    assert not any((keys[k] == keys[j]).any() for k in range(40) for j in range(k))


def test_keys_of_a_text_do_not_depend_on_its_neighbours() -> None:
    texts = [tokenize(text) for text in (" ".join(words(20)), "一二三四五六七八九", " ".join(words(9, 50)))]
    mixed = Recipe(32, 4, shingle_words=3, shingle_chars=5)
    together = band_keys(texts, mixed)
    assert all((band_keys([text], mixed)[0] == keys).all() for text, keys in zip(texts, together, strict=True))


def test_a_text_shorter_than_a_shingle_is_like_nothing() -> None:
    assert similarity("two words", "two words") == 0.0
    assert similarity("", "two words and more") == 0.0
    assert jaccard([], np.empty((0, 2), np.int64), RECIPE).tolist() == []
