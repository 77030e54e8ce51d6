"""Tags of the learned tagger are always well formed and the best of those; spans are what they say."""

from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from annotate.network import Shape, best_tags, spans_of

SHAPE = Shape(entities=("A", "B"), relations=(), pairs=(), num_features=0)


def well_formed(tags: tuple[str, ...]) -> bool:
    inside = ""
    for tag in tags:
        part, _, label = tag.partition("-")
        if (inside and (part not in "IL" or label != inside)) or (not inside and part in "IL"):
            return False
        inside = label if part in "BI" else ""
    return not inside


@given(st.integers(1, 3), st.integers(0, 20))
def test_tags_are_the_best_well_formed_ones(length: int, seed: int) -> None:
    logits = torch.randn(length, len(SHAPE.tags), generator=torch.Generator().manual_seed(seed))
    scores = logits.log_softmax(dim=1)
    found = [SHAPE.tags[tag] for tag in best_tags(logits, SHAPE).tolist()]
    assert well_formed(tuple(found))
    possible = (tags for tags in product(range(len(SHAPE.tags)), repeat=length))
    best = max(
        (tags for tags in possible if well_formed(tuple(SHAPE.tags[tag] for tag in tags))),
        key=lambda tags: sum(float(scores[place, tag]) for place, tag in enumerate(tags)),
    )
    assert found == [SHAPE.tags[tag] for tag in best]


def test_spans_of_tags() -> None:
    assert spans_of(["O", "B-A", "I-A", "L-A", "U-B", "B-B", "L-B", "O"]) == [(1, 4, "A"), (4, 5, "B"), (5, 7, "B")]
