"""Relations between entities by dependency patterns, and by token patterns where there is no parser."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.settings import Pattern
from catalog.errors import ConfigError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token
    from spacy.vocab import Vocab

NEGATIONS = frozenset({"neg", "ng"})  # the label in spaCy's English and Chinese models, and in its German ones
# a token pattern's word, or the one before its first, that says it is not so, or not any more
DENIALS = frozenset(("不", "未", "没", "没有", "并不", "并非", "不再", "从未", "非", "曾", "前", "原"))
RUN = 2_000  # tokens of a long text that are copied at once: many more or fewer cost more


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
        from spacy.matcher import Matcher

        from annotate.dependencies import TreeMatcher

        self._patterns: dict[int, Pattern] = {}
        self._matchers: dict[tuple[str | None, str | None], TreeMatcher] = {}  # by the labels of head and tail
        self._surface = Matcher(vocab)
        for pattern in patterns:
            if pattern.language not in (None, vocab.lang):
                continue  # each costs time in every sentence
            ends = (_entity_type(pattern, "head"), _entity_type(pattern, "tail"))
            try:
                if pattern.tokens:
                    self._surface.add(pattern.id, [[_without_name(token) for token in pattern.tokens]])
                else:
                    matcher = self._matchers.setdefault(ends, TreeMatcher(vocab))
                    matcher.add(pattern.id, [[dict(node) for node in pattern.nodes]])
            except (ValueError, KeyError, re.error) as error:
                kind = "a token" if pattern.tokens else "a dependency"
                raise ConfigError(
                    f"annotation_schema.patterns: '{pattern.id}' is not {kind} pattern: {' '.join(str(error).split())}"
                ) from error
            self._patterns[vocab.strings[pattern.id]] = pattern

    @property
    def ends(self) -> frozenset[tuple[str, str]]:
        """Return the labels of head and tail that some pattern joins, where it asks for one of each."""
        return frozenset((head, tail) for head, tail in self._matchers if head is not None and tail is not None)

    def find(self, doc: "Doc", entities: "Sequence[Span]") -> list[Relation]:
        """Return each related pair that no negation denies once per label, with the highest confidence, in order."""
        owner = {token.i: index for index, span in enumerate(entities) for token in span}
        best: dict[tuple[int, int, str], Relation] = {}
        copies = _Copies(doc)
        for sentence, labels in _sentences(doc, entities):
            for pattern, ends, tokens in self._matches(sentence, labels, copies):
                head, tail = (owner.get(sentence.start + end) for end in ends)
                if head is None or tail is None or head == tail or _apart(doc, entities[head], entities[tail]):
                    continue
                if any(_negated(doc[sentence.start + token]) for token in tokens):
                    continue
                start, end = sentence.start_char, sentence.end_char
                found = Relation(head, tail, pattern.relation, start, end, pattern.confidence)
                pair = (head, tail, pattern.relation)
                best[pair] = max(best.get(pair, found), found, key=lambda relation: relation.score)
        return sorted(best.values())

    def _matches(
        self, sentence: "Span", labels: Counter[str], copies: "_Copies"
    ) -> Iterator[tuple[Pattern, tuple[int, int], Sequence[int]]]:
        """Yield each match's pattern, the places of its head and tail, and those of all its tokens."""
        surface: Any = self._surface(sentence, with_alignments=True) if len(self._surface) else ()
        for key, start, end, alignment in surface:
            pattern = self._patterns[key]
            ends = (start + alignment.index(_node(pattern, "head")), start + alignment.index(_node(pattern, "tail")))
            yield pattern, ends, range(max(0, start - 1), end)
        if not sentence.doc.has_annotation("DEP"):
            return
        # matching costs milliseconds, and most patterns' entities are not in the sentence
        possible = [
            matcher
            for ends, matcher in self._matchers.items()
            if not Counter(label for label in ends if label is not None) - labels
        ]
        if possible:
            alone = copies.of(sentence)
            for matcher in possible:
                for key, tokens in matcher(alone):
                    pattern = self._patterns[key]
                    yield pattern, (tokens[_node(pattern, "head")], tokens[_node(pattern, "tail")]), tokens


class _Copies:
    """Copies sentences of a text, in order: `Span.as_doc` reads the whole text each time, so long ones go in runs."""

    def __init__(self, doc: "Doc") -> None:
        self._doc = self._run = doc
        self._start, self._end = (0, len(doc)) if len(doc) <= RUN else (0, 0)

    def of(self, sentence: "Span") -> "Doc":
        """Return a text of this sentence alone."""
        if sentence.end > self._end:
            self._start, self._end = sentence.start, max(sentence.end, min(sentence.start + RUN, len(self._doc)))
            self._run = self._doc[self._start : self._end].as_doc()
        return self._run[sentence.start - self._start : sentence.end - self._start].as_doc()


def _sentences(doc: "Doc", entities: "Sequence[Span]") -> "Iterable[tuple[Span, Counter[str]]]":
    """Yield the sentences that hold at least two entities, with the labels of those; `Span.ents` reads all the text."""
    if len(entities) < 2:
        return
    starts = [span.start for span in entities]
    for sentence in doc.sents:
        first, last = bisect_left(starts, sentence.start), bisect_left(starts, sentence.end)
        if last - first > 1:
            yield sentence, Counter(span.label_ for span in entities[first:last])


def _node(pattern: Pattern, name: str) -> int:
    nodes, key = (pattern.tokens, "NODE") if pattern.tokens else (pattern.nodes, "RIGHT_ID")
    return next(index for index, node in enumerate(nodes) if node.get(key) == name)


def _without_name(token: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in token.items() if key != "NODE"}


def _entity_type(pattern: Pattern, name: str) -> str | None:
    """Return the one entity label that a node must have, or None where it may have several."""
    if pattern.tokens:
        return None
    wanted = pattern.nodes[_node(pattern, name)].get("RIGHT_ATTRS", {}).get("ENT_TYPE")
    return wanted if isinstance(wanted, str) else None


def _negated(token: "Token") -> bool:
    """Tell whether a word is or carries a negation: not, never, or no longer."""
    if token.text in DENIALS:
        return True
    said = [*token.children, *(word for child in token.children if child.dep_ == "advmod" for word in child.children)]
    return any(word.dep_ in NEGATIONS or "Neg" in word.morph.get("Polarity", []) for word in said)


def _apart(doc: "Doc", one: "Span", other: "Span") -> bool:
    """Tell whether a blank line, so the end of a block, lies between two entities that the parser joined."""
    first, second = sorted((one, other), key=lambda span: span.start)
    return any("\n\n" in token.text for token in doc[first.end : second.start] if token.is_space)
