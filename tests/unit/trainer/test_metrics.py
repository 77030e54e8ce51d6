"""Perplexity and bits per byte against sums done by hand."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toytrain import write_text

from catalog.models import resolve
from trainer.metrics import Score, cut_windows, score
from trainer.model import LanguageModel, load_model


@pytest.fixture(scope="module")
def model(tiny_lm: Path) -> LanguageModel:
    return load_model(resolve("lm", str(tiny_lm)))


def by_hand(model: LanguageModel, text: str) -> float:
    tokens = torch.tensor([model.encode(text)])
    with torch.no_grad():
        log_p = model.model(tokens).logits[0, :-1].log_softmax(-1)
    return -float(log_p.gather(1, tokens[0, 1:, None]).sum())


@given(st.lists(st.integers(), min_size=2, max_size=60), st.integers(2, 20))
def test_windows_predict_every_token_but_the_first_once(tokens: list[int], length: int) -> None:
    windows = cut_windows(tokens, length)
    assert [token for window in windows for token in window[1:]] == tokens[1:]
    assert all(2 <= len(window) <= length for window in windows)


def test_perplexity_is_token_weighted(model: LanguageModel) -> None:
    texts = ["tea", write_text("stone", 1, 5), write_text("tea", 2, 30)]
    found = score(model, texts, length=200, batch_size=2)
    counted = [text for text in texts if len(model.encode(text)) > 1]
    tokens = sum(len(model.encode(text)) - 1 for text in counted)
    nats = sum(by_hand(model, text) for text in counted)
    assert found is not None
    assert (found.tokens, found.documents) == (tokens, len(counted))
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-5)


def test_bits_per_byte_counts_the_bytes_of_the_predicted_tokens(model: LanguageModel) -> None:
    text = "tea 茶 leaves"
    found = score(model, [text], length=200, batch_size=1)
    assert found is not None
    first = model.tokenizer.decode(model.encode(text)[:1])
    assert found.num_bytes == len(text.encode()) - len(first.encode())
    assert found.bits_per_byte == pytest.approx(by_hand(model, text) / math.log(2) / found.num_bytes, rel=1e-5)


def test_long_documents_are_cut_into_windows_not_truncated(model: LanguageModel) -> None:
    text = write_text("tea", 3, 200)
    whole, cut = score(model, [text], 400, 4), score(model, [text], 16, 4)
    assert whole is not None
    assert cut is not None
    assert whole.tokens == cut.tokens == len(model.encode(text)) - 1
    assert whole.num_bytes == cut.num_bytes


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_does_not_matter(model: LanguageModel, batch_size: int) -> None:
    texts = [write_text("tea", k, 3 + 7 * k) for k in range(6)]
    found, expected = score(model, texts, 32, batch_size), score(model, texts, 32, 2)
    assert found is not None
    assert expected is not None
    assert found.nats == pytest.approx(expected.nats, rel=1e-5)


def test_no_text_has_no_score(model: LanguageModel) -> None:
    assert score(model, [], 32, 4) is None
    assert score(model, ["", "t"], 32, 4) is None


def test_a_uniform_guess_over_a_vocabulary_has_its_size_as_perplexity() -> None:
    assert Score(nats=5 * math.log(7), tokens=5, num_bytes=10, documents=1).perplexity == pytest.approx(7)
    assert Score(nats=1e6, tokens=1, num_bytes=1, documents=1).perplexity == math.inf
