"""A spaCy component that finds entities and relations with a network trained by `headrace annotate train`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from spacy.tokens import Span

from annotate.found import FOUND, Found
from annotate.network import Network, Sentence, Shape, best_tags, collate, spans_of
from annotate.nlp import LEARNED, build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spacy.tokens import Doc, Token
    from tokenizers import Tokenizer

MAX_WORDS = 128  # of one sentence; longer ones are cut, so that the encoder's positions suffice
SENTENCES = 32  # at once; never those of two documents, so that a row is the same whatever its company
WORDS = 1024  # at once, padding included
PAIRS = 256  # at once: each takes a vector of every word of its sentence
MAX_ENTITIES = 24  # of one sentence; above that it is a list, whose pairs nobody relates


@dataclass(frozen=True)
class Trained:
    """A network with what it reads: its tokenizer, and the labels of the base pipeline's recogniser as features."""

    network: Network
    tokenizer: "Tokenizer"
    base_labels: tuple[str, ...]
    threshold: float  # of a relation's probability


class Learned:
    """The component; `trained` is set by who trains it, or by `from_disk`."""

    def __init__(self, name: str = LEARNED) -> None:
        self.name = name
        self.trained: Trained | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the entity labels that it knows."""
        return self.trained.network.shape.entities if self.trained else ()

    def __call__(self, doc: "Doc") -> "Doc":
        """Set the document's entities and leave a `Found` in its user data."""
        assert self.trained is not None, "a component is used after training or loading"
        sentences = sentences_of(doc, self.trained.base_labels) if len(doc) else []
        found = [item for chunk in _chunks(sentences) for item in _find(self.trained, chunk)]
        found.sort(key=lambda item: item[0].start)
        entities: list[Span] = []
        scores: list[float] = []
        relations: list[tuple[int, int, str, float]] = []
        margins: list[tuple[int, int, float]] = []
        for sentence, spans, pairs, margin in found:
            first = len(entities)
            for start, end, label, score in spans:
                entities.append(Span(doc, sentence.start + start, sentence.start + end, label=label))
                scores.append(score)
            relations += [(first + head, first + tail, label, score) for head, tail, label, score in pairs]
            margins.append((sentence.start, sentence.start + len(sentence.words), margin))
        doc.ents = entities
        doc.user_data[FOUND] = Found(tuple(scores), tuple(relations), tuple(margins))
        return doc

    def pipe(self, stream: "Iterable[Doc]", batch_size: int = 1) -> "Iterator[Doc]":
        """Process the documents one after the other: the sentences of each are a batch of their own."""
        return map(self, stream)

    def to_disk(self, path: Path | str, exclude: Iterable[str] = ()) -> None:
        """Write shape, tokenizer and weights (safetensors) into a folder."""
        from safetensors.torch import save

        assert self.trained is not None, "a component is saved after training"
        network = self.trained.network
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        about = {name: getattr(self.trained, name) for name in ("base_labels", "threshold")} | {
            "shape": asdict(network.shape)
        }
        (folder / "learned.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (folder / "encoder.json").write_text(network.encoder.config.to_json_string(), encoding="utf-8")  # type: ignore[union-attr,operator]
        self.trained.tokenizer.save(str(folder / "tokenizer.json"))
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        (folder / "weights.safetensors").write_bytes(save(weights))

    def from_disk(self, path: Path | str, exclude: Iterable[str] = ()) -> "Learned":
        """Read what `to_disk` wrote."""
        from tokenizers import Tokenizer

        folder = Path(path)
        about = json.loads((folder / "learned.json").read_text(encoding="utf-8"))
        given = about["shape"]
        tuples = {name: tuple(given[name]) for name in ("entities", "relations")}
        shape = Shape(**given | tuples | {"pairs": tuple((head, tail) for head, tail in given["pairs"])})
        self.trained = Trained(
            build_network(folder, shape),
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            tuple(about["base_labels"]),
            float(about["threshold"]),
        )
        return self


@torch.inference_mode()
def _find(trained: Trained, sentences: Sequence[Sentence]) -> list[tuple[Sentence, list[Any], list[Any], float]]:
    network = trained.network
    vectors, logits = network(collate(sentences, trained.tokenizer))
    names = network.shape.tags
    made: list[tuple[Sentence, list[Any], list[Any], float]] = []
    for row, sentence in enumerate(sentences):
        own = logits[row, : len(sentence.words)]
        tags = best_tags(own, network.shape)
        probable = own.softmax(dim=1)
        chosen = probable.gather(1, tags[:, None])[:, 0].tolist()
        spans = [
            (start, end, label, round(min(chosen[start:end]), 4))
            for start, end, label in spans_of([names[tag] for tag in tags.tolist()])
        ]
        two = probable.topk(2, dim=1).values
        made.append((sentence, spans, [], float((two[:, 0] - two[:, 1]).min())))
    return _relate(trained, vectors, made)


def _relate(trained: Trained, vectors: torch.Tensor, made: list[Any]) -> list[Any]:
    """Judge every pair of entities of one sentence whose labels some relation joins."""
    network = trained.network
    spans, ends = candidates([found for _, found, _, _ in made], network.shape)
    margins = [margin for *_, margin in made]
    known = network.shape.relations
    pooled = network.pool(vectors, spans) if ends else spans
    for first in range(0, len(ends), PAIRS):
        part = ends[first : first + PAIRS]
        probable = network.relate(vectors, spans, pooled, torch.tensor(part)).sigmoid().tolist()
        for (head, tail), row in zip(part, probable, strict=True):
            sentence = int(spans[head, 0])
            offset = int((spans[:, 0] < sentence).sum())
            margins[sentence] = min(margins[sentence], *(abs(2 * value - 1) for value in row))
            made[sentence][2].extend(
                (head - offset, tail - offset, label, round(value, 4))
                for label, value in zip(known, row, strict=True)
                if value >= trained.threshold
            )
    return [
        (sentence, found, pairs, round(margin, 4))
        for (sentence, found, pairs, _), margin in zip(made, margins, strict=True)
    ]


def sentences_of(doc: "Doc", base_labels: Sequence[str]) -> list[Sentence]:
    """Return the document's sentences, those above MAX_WORDS in pieces."""
    features = _features(doc, base_labels)
    cuts = [
        (start, min(start + MAX_WORDS, span.end))
        for span in doc.sents
        for start in range(span.start, span.end, MAX_WORDS)
    ]
    return [Sentence(start, tuple(token.text for token in doc[start:end]), features[start:end]) for start, end in cuts]


def candidates(spans: Sequence[Sequence[tuple[int, int, str, Any]]], shape: Shape) -> tuple[torch.Tensor, list[Any]]:
    """Return the spans of a batch of sentences as rows for `Pairs`, and the pairs whose labels may be related."""
    places = {label: index for index, label in enumerate(shape.entities)}
    rows = [
        (sentence, start, end, places[label]) for sentence, found in enumerate(spans) for start, end, label, _ in found
    ]
    allowed, ends, first = set(shape.pairs), [], 0
    for found in spans:
        ends += [
            [first + head, first + tail]
            for head, tail in permutations(range(len(found)), 2)
            if len(found) <= MAX_ENTITIES and (found[head][2], found[tail][2]) in allowed
        ]
        first += len(found)
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 4), ends


def _features(doc: "Doc", base_labels: Sequence[str]) -> "NDArray[np.float32]":
    """Describe each word: spaCy's vector of it in context, what spaCy's recogniser says, how it is written."""
    places = {label: index for index, label in enumerate(base_labels)}
    opinion = np.zeros((len(doc), len(base_labels) + 2), np.float32)
    for span in doc.ents:
        opinion[span.start : span.end, places[span.label_]] = 1
        opinion[span.start : span.end, -1] = 1
        opinion[span.start, -2] = 1
    written = np.array([_written(token) for token in doc], np.float32).reshape(len(doc), -1)
    return np.concatenate([np.asarray(doc.tensor, np.float32).reshape(len(doc), -1), opinion, written], axis=1)


def _written(token: "Token") -> tuple[bool, ...]:
    return (
        token.is_title, token.is_upper, token.is_lower, token.is_digit, token.like_num, token.is_punct,
        token.is_space, bool(token.is_sent_start),
    )  # fmt: skip


def _chunks(sentences: Sequence[Sentence]) -> Iterator[Sequence[Sentence]]:
    """Cut a document's sentences into batches of about one length."""
    chunk: list[Sentence] = []
    for sentence in sorted(sentences, key=lambda item: (len(item.words), item.start)):
        if len(chunk) == SENTENCES or (len(chunk) + 1) * len(sentence.words) > WORDS:
            yield chunk
            chunk = []
        chunk.append(sentence)
    if chunk:
        yield chunk
