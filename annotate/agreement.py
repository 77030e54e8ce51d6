"""How far two annotators agree: Cohen's kappa over the tags of words and over the relations of pairs.

Jacob Cohen: A coefficient of agreement for nominal scales (1960). Compared are both people's labels of the same texts:
BIO tags of all words, and for every ordered pair of ranges that either of them marked the relation, or none.
"""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations
from typing import Any

from annotate.bio import tag_words
from annotate.labels import Labelled

NONE = "none"


def agreements(labelled: Iterable[Labelled]) -> list[dict[str, Any]]:
    """Compare every two people with texts in common: who, texts, words, pairs, kappa of entities and of relations.

    Kappa is None where it is undefined: both of them used one and the same label throughout.
    """
    by_person: dict[str, dict[tuple[str, int, str], Labelled]] = defaultdict(dict)
    for item in labelled:
        by_person[item.who][item.key] = item
    found = []
    for one, other in combinations(sorted(by_person), 2):
        common = sorted(by_person[one].keys() & by_person[other].keys())
        if common:
            found.append({"who": [one, other], **_compare(common, by_person[one], by_person[other])})
    return found


def kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Return Cohen's kappa of two sequences of labels; None where there is nothing to choose between."""
    from sklearn.metrics import cohen_kappa_score

    if len({*one, *other}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(cohen_kappa_score(one, other))
    return value if math.isfinite(value) else None


def _compare(
    keys: Sequence[tuple[str, int, str]], one: Mapping[Any, Labelled], other: Mapping[Any, Labelled]
) -> dict[str, Any]:
    tags: tuple[list[str], list[str]] = [], []
    relations: tuple[list[str], list[str]] = [], []
    for key in keys:
        both = one[key], other[key]
        borders = {place for item in both for start, end, _ in item.entities for place in (start, end)}
        ranges = sorted({(start, end) for item in both for start, end, _ in item.entities})
        for item, into_tags, into_relations in zip(both, tags, relations, strict=True):
            into_tags += [tag for _, tag in tag_words(item.text, item.entities, borders)]
            into_relations += _relations(item, ranges)
    return {
        "texts": len(keys),
        "words": len(tags[0]),
        "pairs": len(relations[0]),
        "entities": kappa(*tags),
        "relations": kappa(*relations),
    }


def _relations(item: Labelled, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """Name the relation, or several, or none, of each ordered pair of ranges."""
    said: dict[tuple[tuple[int, int], tuple[int, int]], list[str]] = defaultdict(list)
    for head, tail, label in item.relations:
        said[item.entities[head][:2], item.entities[tail][:2]].append(label)
    return ["+".join(sorted(said[pair])) if pair in said else NONE for pair in permutations(ranges, 2)]
