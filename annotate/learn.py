"""Train the learned annotator from reviewed labels, beside a spaCy pipeline for tokens, sentences and features."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from annotate.labels import Labelled
from annotate.learned import Trained, candidates, sentences_of
from annotate.lesson import Recipe
from annotate.network import Network, Sentence, Shape, Words, collate, lower_vectors, upper_layers
from annotate.settings import LABEL_MAP
from catalog.errors import InputError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span
    from tokenizers import Tokenizer
    from torch import nn

Mention: TypeAlias = tuple[int, int, str, float]  # start and end in words, label, probability
MIN_EXAMPLES = 8  # sentences with labels, below which nothing can be learned


@dataclass(frozen=True)
class Example:
    """One sentence with its tags, entities in words, wrong ones after the right ones, and the related pairs of them."""

    sentence: Sentence
    tags: tuple[int, ...]
    spans: tuple[Mention, ...]
    relations: frozenset[tuple[int, int, str]]


def train(
    nlp: "Language",
    encoder: "tuple[nn.Module, Tokenizer]",
    labelled: Sequence[Labelled],
    recipe: Recipe,
    note: Callable[[str], None],
) -> Trained:
    """Fine-tune the encoder with a tagger and a pair classifier: for the epochs, or the minutes, of the recipe."""
    model, tokenizer = encoder
    base_labels = tuple(nlp.pipe_labels["ner"])
    docs = list(nlp.pipe(item.text for item in labelled))
    first = sentences_of(docs[0], base_labels)[0]
    shape = shape_of(labelled, first.features.shape[1])
    examples = [
        made for doc, item in zip(docs, labelled, strict=True) for made in _examples(doc, item, shape, base_labels)
    ]
    if len(examples) < MIN_EXAMPLES:
        raise InputError(f"{len(examples)} labelled sentences; {MIN_EXAMPLES} are the least that can be learned from")
    torch.manual_seed(recipe.seed)
    network = Network(model, shape)
    batches = _Batches(network, tokenizer, examples, recipe)
    with upper_layers(model, recipe.tuned_layers):
        _fit(network, batches, recipe, note)
    return Trained(network, tokenizer, base_labels, recipe.threshold)


def shape_of(labelled: Sequence[Labelled], num_features: int) -> Shape:
    """Return what the labels ask for: their entity labels, relations, and which labels relations join."""
    joined = {
        (item.entities[head][2], item.entities[tail][2], label)
        for item in labelled
        for head, tail, label in item.relations
    }
    return Shape(
        entities=tuple(sorted({label for item in labelled for *_, label in item.entities})),
        relations=tuple(sorted({label for *_, label in joined})),
        pairs=tuple(sorted({(head, tail) for head, tail, _ in joined})),
        num_features=num_features,
    )


def _examples(doc: "Doc", item: Labelled, shape: Shape, base_labels: Sequence[str]) -> Iterator[Example]:
    """Cut one labelled text into the sentences that the component will see; relations across two are lost."""
    spans = [doc.char_span(start, end, label, alignment_mode="expand") for start, end, label in item.entities]
    for sentence in sentences_of(doc, base_labels):
        first, stop = sentence.start, sentence.start + len(sentence.words)
        inside = {
            index: (span.start - first, span.end - first, span.label_, 1.0)
            for index, span in enumerate(spans)
            if span is not None and first <= span.start and span.end <= stop
        }
        places = {index: place for place, index in enumerate(inside)}
        pairs = frozenset(
            (places[head], places[tail], label)
            for head, tail, label in item.relations
            if head in places and tail in places
        )
        found = tuple(inside.values())
        wrong = tuple(_wrong(doc[first:stop], found, shape))
        yield Example(sentence, _tags(sentence, found, shape), (*found, *wrong), pairs)


def _wrong(sentence: "Span", right: Sequence[Mention], shape: Shape) -> Iterator[Mention]:
    """Yield what the base pipeline's recogniser gets wrong: ends of no relation, as the tagger's own mistakes are."""
    for span in sentence.ents:
        made = (span.start - sentence.start, span.end - sentence.start, LABEL_MAP.get(span.label_, span.label_), 1.0)
        if made[2] in shape.entities and made not in right:
            yield made


def _tags(sentence: Sentence, spans: Sequence[Mention], shape: Shape) -> tuple[int, ...]:
    tags = [0] * len(sentence.words)
    for start, end, label, _ in spans:
        parts = "U" if end - start == 1 else "B" + "I" * (end - start - 2) + "L"
        tags[start:end] = [shape.tags.index(f"{part}-{label}") for part in parts]
    return tuple(tags)


class _Batches:
    """Shuffled batches of examples with the vectors of the encoder's frozen layers, which are computed once."""

    def __init__(self, network: Network, tokenizer: "Tokenizer", examples: Sequence[Example], recipe: Recipe) -> None:
        self._examples = sorted(examples, key=lambda item: len(item.sentence.words))
        self._tokenizer = tokenizer
        self._size = recipe.batch_size
        self._generator = torch.Generator().manual_seed(recipe.seed)
        network.eval()
        self._lower: list[Tensor] = []
        for first in range(0, len(examples), self._size):
            part = self._examples[first : first + self._size]
            words = collate([item.sentence for item in part], tokenizer)
            self._lower += lower_vectors(network.encoder, recipe.tuned_layers, words)

    def __len__(self) -> int:
        return -(-len(self._examples) // self._size)

    def __iter__(self) -> "Iterator[tuple[list[Example], Words, Tensor]]":
        for rows in self._shuffled():
            batch = [self._examples[row] for row in rows]
            words = collate([item.sentence for item in batch], self._tokenizer)
            lower = torch.nn.utils.rnn.pad_sequence([self._lower[row] for row in rows], batch_first=True)
            yield batch, words, lower.float()

    def _shuffled(self) -> Iterator[list[int]]:
        """Shuffle, then sort within stretches of eight batches, so that little is padded; the batches in any order."""
        order = torch.randperm(len(self._examples), generator=self._generator).tolist()
        stretch = 8 * self._size
        ordered = [row for first in range(0, len(order), stretch) for row in sorted(order[first : first + stretch])]
        starts = torch.randperm(len(self), generator=self._generator).tolist()
        return (ordered[start * self._size : (start + 1) * self._size] for start in starts)


def _fit(network: Network, batches: _Batches, recipe: Recipe, note: Callable[[str], None]) -> None:
    inner = {id(parameter) for parameter in network.encoder.parameters()}
    groups = [
        {"params": list(network.encoder.parameters()), "lr": recipe.encoder_rate},
        {"params": [p for p in network.parameters() if id(p) not in inner], "lr": recipe.rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    rates = [group["lr"] for group in optimizer.param_groups]
    begun = time.monotonic()
    network.train()
    epochs = planned = max(recipe.epochs, -(-recipe.min_steps // len(batches)))
    for epoch in range(planned):
        total = 0.0
        for step, (batch, words, lower) in enumerate(batches):
            share = (epoch * len(batches) + step) / (epochs * len(batches))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * min(share / recipe.warmup, (1 - share) / (1 - recipe.warmup))
            loss = _loss(network, batch, words, lower)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            total += loss.item()
        taken = (time.monotonic() - begun) / 60
        epochs = min(epochs, max(epoch + 1, int(recipe.minutes / (taken / (epoch + 1)))))
        note(f"epoch {epoch + 1} of {epochs}: loss {total / len(batches):.3f}, {taken:.1f} minutes")
        if epoch + 1 >= epochs:
            break
    network.eval()


def _loss(network: Network, batch: Sequence[Example], words: Words, lower: Tensor) -> Tensor:
    """Return cross entropy of the tags plus binary cross entropy of the relations of gold pairs."""
    vectors, logits = network(words, lower)
    wanted = torch.full(words.present.shape, -100)
    for row, item in enumerate(batch):
        wanted[row, : len(item.tags)] = torch.tensor(item.tags)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100)
    spans, ends = candidates([item.spans for item in batch], network.shape)
    if not ends:
        return loss
    truth = _truth(batch, spans, ends, network.shape)
    judged = network.relate(vectors, spans, network.pool(vectors, spans), torch.tensor(ends))
    return loss + torch.nn.functional.binary_cross_entropy_with_logits(judged, truth)


def _truth(batch: Sequence[Example], spans: Tensor, ends: Sequence[Sequence[int]], shape: Shape) -> Tensor:
    counts = Counter(spans[:, 0].tolist())
    first = [sum(counts[row] for row in range(sentence)) for sentence in range(len(batch))]
    truth = torch.zeros(len(ends), len(shape.relations))
    for place, (head, tail) in enumerate(ends):
        row = int(spans[head, 0])
        for index, label in enumerate(shape.relations):
            truth[place, index] = (head - first[row], tail - first[row], label) in batch[row].relations
    return truth
