"""Scores of annotations against labels: entities, and relations end to end, strictly and by overlapping ends."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
End: TypeAlias = tuple[int, int, str]


def entity_scores(gold: Sequence[Row], predicted: Sequence[Row], labels: Iterable[str]) -> dict[str, dict[str, float]]:
    """Score strict entities (same range, same label) of the given labels, each and all together."""
    names = sorted(labels)
    counts = {name: [0, 0, 0] for name in names}
    for truth, guess in zip(gold, predicted, strict=True):
        known = {end for end in _ends(truth) if end[2] in counts}
        made = {end for end in _ends(guess) if end[2] in counts}
        for place, ends in enumerate((known & made, made, known)):
            for *_, label in ends:
                counts[label][place] += 1
    return _scores(counts)


def relation_scores(
    gold: Sequence[Row], predicted: Sequence[Row], labels: Iterable[str], strict: bool
) -> dict[str, dict[str, float]]:
    """Score relations of the given labels, each and all together.

    Strict: both ends have the gold range and label. Otherwise both ends overlap the gold ends, which is recall of gold
    relations and precision of predicted ones.
    """
    names = sorted(labels)
    counts = {name: [0, 0, 0, 0] for name in names}
    for truth, guess in zip(gold, predicted, strict=True):
        known, made = ([one for one in _triples(row) if one[0] in counts] for row in (truth, guess))
        for label, head, tail in made:
            counts[label][0] += any(_same((label, head, tail), other, strict) for other in known)
            counts[label][1] += 1
        for label, head, tail in known:
            counts[label][2] += 1
            counts[label][3] += any(_same((label, head, tail), other, strict) for other in made)
    return _scores(counts)


def _scores(counts: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    return {name: _prf(*row) for name, row in [*counts.items(), ("all", total)]}


def _prf(right: int, found: int, wanted: int, recalled: int | None = None) -> dict[str, float]:
    precision = right / max(1, found)
    recall = (right if recalled is None else recalled) / max(1, wanted)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1, "num_found": found, "num_wanted": wanted}


def _ends(row: Row) -> list[End]:
    return [(item["start"], item["end"], item["label"]) for item in row["entities"]]


def _triples(row: Row) -> list[tuple[str, End, End]]:
    ends = _ends(row)
    return sorted({(item["label"], ends[item["head"]], ends[item["tail"]]) for item in row["relations"]})


def _same(one: tuple[str, End, End], other: tuple[str, End, End], strict: bool) -> bool:
    if strict:
        return one == other
    return one[0] == other[0] and all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one[1:], other[1:], strict=True))
