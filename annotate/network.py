"""The learned annotator's network: words from a transformer and from spaCy, a tagger of words, a classifier of pairs.

As in SpERT (Eberts & Ulges 2020, arXiv 1909.07755) one pass over a sentence serves both tasks, and a pair of entities
is judged by its two spans, their labels and the words between; spans come from BILUO tags (Ratinov & Roth 2009).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

FAR = 24  # words between two entities, above which distance says no more


@dataclass(frozen=True)
class Shape:
    """What a network is made of; saved beside its weights."""

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]  # labels of head and tail that some training relation joins
    num_features: int  # of each word, from spaCy
    hidden: int = 256
    dropout: float = 0.2

    @property
    def tags(self) -> tuple[str, ...]:
        """Return the BILUO tags, O first."""
        return ("O", *(f"{part}-{label}" for label in self.entities for part in "BILU"))


@dataclass(frozen=True)
class Sentence:
    """One sentence as the network reads it: from which token of its document on, its words and their features."""

    start: int
    words: tuple[str, ...]
    features: "NDArray[np.float32]"


@dataclass(frozen=True)
class Words:
    """A batch of sentences in tensors, padded to the longest."""

    pieces: Tensor  # (sentences, pieces) ids
    mask: Tensor  # (sentences, pieces)
    owner: Tensor  # (sentences, pieces) index of the word; the last index + 1 for pieces of no word
    features: Tensor  # (sentences, words, features)
    present: Tensor  # (sentences, words) bool


class Network(nn.Module):
    """Encoder, tagger and pair classifier."""

    def __init__(self, encoder: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.encoder = encoder
        self.shape = shape
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr,arg-type]
        self.words = nn.Sequential(
            nn.Linear(width + shape.num_features, shape.hidden), nn.GELU(), nn.Dropout(shape.dropout)
        )
        self.context = nn.LSTM(shape.hidden, shape.hidden // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(shape.dropout)
        self.tagger = nn.Linear(shape.hidden, len(shape.tags))
        self.labels = nn.Embedding(len(shape.entities), 32)
        self.distances = nn.Embedding(2 * FAR + 1, 32)
        self.relations = nn.Sequential(
            nn.Linear(3 * shape.hidden + 3 * 32, shape.hidden),
            nn.GELU(),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.hidden, len(shape.relations)),
        )

    def forward(self, words: Words, lower: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the words' vectors (sentences, words, hidden) and the logits of their tags.

        `lower` are the pieces' vectors below the encoder's remaining layers, while `upper_layers` holds.
        """
        given = {"input_ids": words.pieces} if lower is None else {"inputs_embeds": lower}
        hidden = self.encoder(**given, attention_mask=words.mask).last_hidden_state
        size, num_words = words.present.shape
        index = words.owner[:, :, None].expand_as(hidden)
        pooled = hidden.new_zeros(size, num_words + 1, hidden.shape[2]).scatter_reduce(
            1, index, hidden, "mean", include_self=False
        )
        vectors = self.words(torch.cat([self.dropout(pooled[:, :num_words]), words.features], dim=2))
        lengths = words.present.sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        context, _ = nn.utils.rnn.pad_packed_sequence(self.context(packed)[0], batch_first=True)
        vectors = self.dropout(vectors + context)
        return vectors, self.tagger(vectors)

    def pool(self, vectors: Tensor, spans: Tensor) -> Tensor:
        """Return one vector of each span (spans, hidden); a span is a row of sentence, start, end and label."""
        sentence, start, end, _ = spans.unbind(1)
        return _pool(vectors, sentence, start, end)

    def relate(self, vectors: Tensor, spans: Tensor, pooled: Tensor, ends: Tensor) -> Tensor:
        """Return the logits of each relation (pairs, relations) of pairs of spans: `ends` index head and tail."""
        sentence, start, end, label = spans.unbind(1)
        head, tail = ends.unbind(1)
        first_end, last_start = torch.minimum(end[head], end[tail]), torch.maximum(start[head], start[tail])
        between = _pool(vectors, sentence[head], first_end, last_start)
        gap = (last_start - first_end).clamp(0, FAR - 1)
        distance = torch.where(start[head] < start[tail], gap, FAR + gap)
        joined = [pooled[head], pooled[tail], between, self.labels(label[head]), self.labels(label[tail])]
        return self.relations(torch.cat([*joined, self.distances(distance)], dim=1))  # type: ignore[no-any-return]


@contextmanager
def upper_layers(encoder: nn.Module, num_layers: int) -> Iterator[None]:
    """Leave an encoder of BERT's kind its last layers alone, to be called with `inputs_embeds`; put the others back."""
    stack: Any = encoder.encoder
    whole, embeddings = stack.layer, encoder.embeddings
    stack.layer, encoder.embeddings = whole[len(whole) - num_layers :], _Given()
    try:
        yield
    finally:
        stack.layer, encoder.embeddings = whole, embeddings


@torch.inference_mode()
def lower_vectors(encoder: nn.Module, num_layers: int, words: Words) -> list[Tensor]:
    """Return each sentence's vectors (pieces, width) below the encoder's last layers, in half precision."""
    stack: Any = encoder.encoder
    whole = stack.layer
    stack.layer = whole[: len(whole) - num_layers]
    try:
        hidden = encoder(input_ids=words.pieces, attention_mask=words.mask).last_hidden_state.half()
    finally:
        stack.layer = whole
    return [row[: int(size)].clone() for row, size in zip(hidden, words.mask.sum(dim=1), strict=True)]


class _Given(nn.Module):
    """Stands for an encoder's embeddings where their vectors are given."""

    def forward(self, inputs_embeds: Tensor, **_: object) -> Tensor:
        return inputs_embeds


def collate(sentences: Sequence[Sentence], tokenizer: "Tokenizer") -> Words:
    """Cut words into pieces and pad; a word without pieces, such as a line end, has features alone."""
    import numpy as np

    encoded = tokenizer.encode_batch([list(item.words) for item in sentences], is_pretokenized=True)
    num_words = max(len(item.words) for item in sentences)
    num_pieces = max(len(item.ids) for item in encoded)
    pieces = np.zeros((len(sentences), num_pieces), np.int64)
    owner = np.full((len(sentences), num_pieces), num_words, np.int64)
    features = np.zeros((len(sentences), num_words, sentences[0].features.shape[1]), np.float32)
    for row, (sentence, item) in enumerate(zip(sentences, encoded, strict=True)):
        pieces[row, : len(item.ids)] = item.ids
        owner[row, : len(item.ids)] = [num_words if word is None else word for word in item.word_ids]
        features[row, : len(sentence.words)] = sentence.features
    lengths = np.array([[len(item.words)] for item in sentences])
    sizes = np.array([[len(item.ids)] for item in encoded])
    return Words(
        torch.from_numpy(pieces),
        torch.from_numpy((np.arange(num_pieces) < sizes).astype(np.int64)),
        torch.from_numpy(owner),
        torch.from_numpy(features),
        torch.from_numpy(np.arange(num_words) < lengths),
    )


def best_tags(logits: Tensor, shape: Shape) -> Tensor:
    """Return the most probable well-formed BILUO tags of one sentence's words (words, tags) by Viterbi."""
    allowed, first, last = _transitions(shape.tags)
    scores = logits.log_softmax(dim=1)
    total = scores[0] + first
    back = []
    for score in scores[1:]:
        best, source = (total[:, None] + allowed).max(dim=0)
        back.append(source)
        total = best + score
    tags = [int((total + last).argmax())]
    for source in reversed(back):
        tags.append(int(source[tags[-1]]))
    return torch.tensor(tags[::-1])


def spans_of(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return the (start, end, label) of well-formed BILUO tags, in words."""
    found, start = [], 0
    for index, tag in enumerate(tags):
        part, _, label = tag.partition("-")
        if part in ("B", "U"):
            start = index
        if part in ("L", "U"):
            found.append((start, index + 1, label))
    return found


def _transitions(tags: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what may follow what (from, to), begin and end: 0 where it may, minus infinity where not."""

    def cost(wrong: Any) -> Tensor:
        return torch.tensor(wrong, dtype=torch.float32) * -1e9

    inside = [tag[0] in "BI" for tag in tags]
    continues = [tag[0] in "IL" for tag in tags]
    follows = [
        [
            not (open_ == more and (not open_ or one[2:] == other[2:]))
            for other, more in zip(tags, continues, strict=True)
        ]
        for one, open_ in zip(tags, inside, strict=True)
    ]
    return cost(follows), cost(continues), cost(inside)


def _pool(vectors: Tensor, sentence: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the maximum of each span's vectors; zeros for an empty span."""
    place = torch.arange(vectors.shape[1])
    inside = (place >= start[:, None]) & (place < end[:, None])
    pooled = vectors[sentence].masked_fill(~inside[:, :, None], -1e9).max(dim=1).values
    return pooled * inside.any(dim=1, keepdim=True)
