"""Keywords of one parsed document: its noun phrases, weighted by count, length and first place."""

from collections import defaultdict
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

MAX_WORDS = 4
CONTENT = frozenset({"NOUN", "PROPN", "ADJ"})
UNSPACED = frozenset({"zh", "ja", "th"})  # languages that put no blanks between words


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
    blank = "" if doc.lang_ in UNSPACED else " "
    return [(blank.join(key), weights[key] / total) for key in ranked]


def _phrases(doc: "Doc") -> list[tuple[tuple[str, ...], int]]:
    """Cut runs of content words that end in a noun: the noun phrases without their articles and pronouns.

    Without blanks a run would join too much: there a name is a phrase of its own, and one character alone is none.
    """
    unspaced = doc.lang_ in UNSPACED
    found: list[tuple[tuple[str, ...], int]] = []
    run: list[Token] = []
    for token in doc:
        content = token.pos_ in CONTENT and not token.is_stop and any(letter.isalpha() for letter in token.text)
        alone = unspaced and (bool(token.ent_type_) or any(other.ent_type_ for other in run[-1:]))
        if alone or not content:
            _close(run, found)
            run = []
        if content:
            run.append(token)
    _close(run, found)
    return [(phrase, place) for phrase, place in found if not unspaced or len("".join(phrase)) > 1]


def _close(run: "list[Token]", found: list[tuple[tuple[str, ...], int]]) -> None:
    while run and run[-1].pos_ == "ADJ":
        run.pop()
    if run:
        kept = run[-MAX_WORDS:]
        found.append((tuple((token.lemma_ or token.text).lower() for token in kept), kept[0].i))
