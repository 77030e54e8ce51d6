"""What a learned component leaves on a document, and the relations that follow from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from annotate.relations import Relation

if TYPE_CHECKING:
    from spacy.tokens import Doc

FOUND = "headrace.learned"  # the key in Doc.user_data


@dataclass(frozen=True)
class Found:
    """What was found in one document: indexes refer to its `ents`, probabilities are the network's."""

    scores: tuple[float, ...]  # of each entity: the least probable of its tags
    relations: tuple[tuple[int, int, str, float], ...]  # head, tail, label, probability
    margins: tuple[tuple[int, int, float], ...]  # of each stretch of tokens: the least certain decision, 0 to 1


def found_relations(doc: "Doc", found: Found, places: Mapping[int, int], labels: Iterable[str]) -> list[Relation]:
    """Return the found relations of the given labels; `places` gives each kept entity's new index, for its old one."""
    wanted = set(labels)
    relations = []
    for head, tail, label, score in found.relations:
        if label in wanted and head in places and tail in places:
            sentence = doc.ents[places[head]].sent
            relations.append(Relation(places[head], places[tail], label, sentence.start_char, sentence.end_char, score))
    return relations


def strongest(relations: Iterable[Relation]) -> list[Relation]:
    """Return each pair's relation once per label, that with the highest score, in order."""
    best: dict[tuple[int, int, str], Relation] = {}
    for relation in relations:
        pair = (relation.head, relation.tail, relation.label)
        best[pair] = max(best.get(pair, relation), relation, key=lambda item: item.score)
    return sorted(best.values())
