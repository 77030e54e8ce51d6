"""Relations between entities by dependency patterns."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotate.settings import Pattern
from catalog.errors import ConfigError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token
    from spacy.vocab import Vocab

NEGATIONS = frozenset({"neg", "ng"})  # the label in spaCy's English and Chinese models, and in its German ones


@dataclass(frozen=True, order=True)
class Relation:
    """One relation: indexes of its two entities, the code-point range of its sentence, the pattern's confidence."""

    head: int
    tail: int
    label: str
    start: int
    end: int
    score: float


class RelationFinder:
    """Compiled patterns; `find` is pure."""

    def __init__(self, vocab: "Vocab", patterns: Iterable[Pattern]) -> None:
        from spacy.matcher import DependencyMatcher

        self._patterns: dict[int, Pattern] = {}
        self._matchers: dict[tuple[str | None, str | None], DependencyMatcher] = {}  # by the labels of head and tail
        for pattern in patterns:
            ends = (_entity_type(pattern, "head"), _entity_type(pattern, "tail"))
            matcher = self._matchers.setdefault(ends, DependencyMatcher(vocab))
            try:
                matcher.add(pattern.id, [[dict(node) for node in pattern.nodes]])
            except (ValueError, KeyError) as error:
                raise ConfigError(
                    f"annotation_schema.patterns: '{pattern.id}' is not a dependency pattern: {error}"
                ) from error
            self._patterns[vocab.strings[pattern.id]] = pattern

    def find(self, doc: "Doc", entities: "Sequence[Span]") -> list[Relation]:
        """Return each related pair that no negation denies once per label, with the highest confidence, in order."""
        owner = {token.i: index for index, span in enumerate(entities) for token in span}
        best: dict[tuple[int, int, str], Relation] = {}
        for sentence in _sentences(doc, entities):
            for pattern, tokens in self._matches(sentence):
                head, tail = (owner.get(sentence.start + tokens[_node(pattern, end)]) for end in ("head", "tail"))
                if head is None or tail is None or head == tail or _apart(doc, entities[head], entities[tail]):
                    continue
                if any(_negated(doc[sentence.start + token]) for token in tokens):
                    continue
                start, end = sentence.start_char, sentence.end_char
                found = Relation(head, tail, pattern.relation, start, end, pattern.confidence)
                pair = (head, tail, pattern.relation)
                best[pair] = max(best.get(pair, found), found, key=lambda relation: relation.score)
        return sorted(best.values())

    def _matches(self, sentence: "Span") -> Iterator[tuple[Pattern, list[int]]]:
        """Match the patterns whose entities the sentence has: matching costs milliseconds, and most cannot match."""
        labels = Counter(span.label_ for span in sentence.ents)
        possible = [
            matcher
            for ends, matcher in self._matchers.items()
            if not Counter(label for label in ends if label is not None) - labels
        ]
        if possible:
            alone = sentence.as_doc()
            for matcher in possible:
                for key, tokens in matcher(alone):
                    yield self._patterns[key], tokens


def _sentences(doc: "Doc", entities: "Sequence[Span]") -> "Iterable[Span]":
    """Yield the sentences that hold at least two entities."""
    if len(entities) < 2:
        return
    starts = [span.start for span in entities]
    for sentence in doc.sents:
        if bisect_left(starts, sentence.end) - bisect_left(starts, sentence.start) > 1:
            yield sentence


def _node(pattern: Pattern, name: str) -> int:
    return next(index for index, node in enumerate(pattern.nodes) if node["RIGHT_ID"] == name)


def _entity_type(pattern: Pattern, name: str) -> str | None:
    """Return the one entity label that a node must have, or None where it may have several."""
    wanted = pattern.nodes[_node(pattern, name)].get("RIGHT_ATTRS", {}).get("ENT_TYPE")
    return wanted if isinstance(wanted, str) else None


def _negated(token: "Token") -> bool:
    """Tell whether a word carries a negation: not, never, or no longer."""
    said = [*token.children, *(word for child in token.children if child.dep_ == "advmod" for word in child.children)]
    return any(word.dep_ in NEGATIONS or "Neg" in word.morph.get("Polarity", []) for word in said)


def _apart(doc: "Doc", one: "Span", other: "Span") -> bool:
    """Tell whether a blank line, so the end of a block, lies between two entities that the parser joined."""
    first, second = sorted((one, other), key=lambda span: span.start)
    return any("\n\n" in token.text for token in doc[first.end : second.start] if token.is_space)
