"""Keywords of one parsed document: its noun phrases, weighted by count, length and first place."""

from collections import defaultdict
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

MAX_WORDS = 4
CONTENT = frozenset({"NOUN", "PROPN", "ADJ"})


def find_topics(doc: "Doc", num_topics: int) -> list[tuple[str, float]]:
    """Return up to `num_topics` (lower-case phrase, score), best first; scores are shares of all phrases' weight.

    A phrase weighs its count × log(1 + its words), halved by the time it first appears at the end (as in YAKE, where
    early and frequent phrases describe a text; Campos et al. 2020, 10.1016/j.ins.2019.09.013).
    """
    if num_topics == 0 or not len(doc):
        return []
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    first: dict[tuple[str, ...], int] = {}
    for phrase, place in _phrases(doc):
        counts[phrase] += 1
        first.setdefault(phrase, place)
    weights = {key: count * log(1 + len(key)) * (1 - first[key] / (2 * len(doc))) for key, count in counts.items()}
    total = sum(weights.values())
    ranked = sorted(weights, key=lambda key: (-weights[key], key))[:num_topics]
    return [(" ".join(key), weights[key] / total) for key in ranked]


def _phrases(doc: "Doc") -> list[tuple[tuple[str, ...], int]]:
    """Cut runs of content words that end in a noun: the noun phrases without their articles and pronouns."""
    found: list[tuple[tuple[str, ...], int]] = []
    run: list[Token] = []
    for token in doc:
        if token.pos_ in CONTENT and not token.is_stop and any(letter.isalpha() for letter in token.text):
            run.append(token)
            continue
        _close(run, found)
        run = []
    _close(run, found)
    return found


def _close(run: "list[Token]", found: list[tuple[tuple[str, ...], int]]) -> None:
    while run and run[-1].pos_ == "ADJ":
        run.pop()
    if run:
        kept = run[-MAX_WORDS:]
        found.append((tuple((token.lemma_ or token.text).lower() for token in kept), kept[0].i))
