"""Keywords of a document."""

import pytest
from spacy.language import Language

from annotate.topics import find_topics

TEXT = (
    "The tea plant grows on wet hills. Green tea is made from leaves of the tea plant that are steamed. "
    "Black tea is made from the same leaves. A farmer picks the leaves by hand."
)


def test_frequent_early_phrases_come_first(nlp: Language) -> None:
    topics = find_topics(nlp(TEXT), 5)
    labels = [label for label, _ in topics]
    assert labels[0] == "tea plant"
    assert {"green tea", "leave"} & set(labels) or {"green tea", "leaf"} & set(labels)
    assert not {"the", "a farmer", "that"} & set(labels)


def test_scores_are_shares_in_descending_order(nlp: Language) -> None:
    scores = [score for _, score in find_topics(nlp(TEXT), 50)]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


@pytest.mark.parametrize(("text", "limit", "expected"), [("", 5, []), (TEXT, 0, []), ("It is so. 42 !", 5, [])])
def test_there_may_be_none(nlp: Language, text: str, limit: int, expected: list[object]) -> None:
    assert find_topics(nlp(text), limit) == expected


def test_no_more_than_asked_for(nlp: Language) -> None:
    assert len(find_topics(nlp(TEXT), 2)) == 2
