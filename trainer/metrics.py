"""Perplexity and bits per byte of held-out text."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from trainer.model import LanguageModel
from trainer.packing import IGNORED, collate


@dataclass(frozen=True)
class Score:
    """How well a model predicts some documents: the summed negative log-likelihood (nats) of `tokens` tokens.

    `num_bytes` are the UTF-8 bytes of exactly those tokens: a document's first token is context, never predicted.
    """

    nats: float
    tokens: int
    num_bytes: int
    documents: int

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood in nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """The exponential of the token-weighted mean loss; infinite where a float cannot hold it."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """The loss in bits per UTF-8 byte of text, which tokenizers do not change."""
        return self.nats / math.log(2) / self.num_bytes


def score(
    model: LanguageModel, texts: Iterable[str], length: int, batch_size: int, advance: Callable[[], None] | None = None
) -> Score | None:
    """Predict every token but the first of each text once, in windows of `length` tokens; None if there is none.

    A window is [start, start + length) and shares one token with the next, as its context; nothing is truncated.
    """
    windows: list[list[int]] = []
    num_bytes = documents = 0
    for text in texts:
        tokens = model.encode(text)
        if len(tokens) < 2:
            continue
        documents += 1
        num_bytes += len(text.encode()) - len(model.tokenizer.decode(tokens[:1]).encode())
        windows += cut_windows(tokens, length)
    if not windows:
        return None
    windows.sort(key=len, reverse=True)
    nats = 0.0
    model.model.eval()
    for start in range(0, len(windows), batch_size):
        nats += _nats(model, windows[start : start + batch_size])
        if advance:
            advance()
    return Score(nats, sum(len(window) - 1 for window in windows), num_bytes, documents)


def cut_windows(tokens: Sequence[int], length: int) -> list[list[int]]:
    """Cut tokens into windows of at most `length` that overlap by one, so that each but the first is predicted once."""
    return [list(tokens[start : start + length]) for start in range(0, len(tokens) - 1, length - 1)]


def _nats(model: LanguageModel, windows: Sequence[list[int]]) -> float:
    blocks = [
        {"input_ids": window, "position_ids": list(range(len(window))), "labels": [IGNORED, *window[1:]]}
        for window in windows
    ]
    batch = {name: tensor.to(model.model.device) for name, tensor in collate(blocks, model.end).items()}
    labels = batch.pop("labels")
    with torch.inference_mode():
        logits = model.model(**batch, use_cache=False).logits[:, :-1].float()
        summed = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum"
        )
    return float(summed)
