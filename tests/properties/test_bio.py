"""R8: offsets → BIO tags → offsets gives the same offsets back."""

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc

from annotate.bio import bio_to_offsets, offsets_to_bio

VOCAB = spacy.blank("en").vocab
LABELS = ("PERSON", "ORGANIZATION", "LOCATION", "EVENT")


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Doc, list[tuple[int, int, str]]]:
    word = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=6)
    words = draw(st.lists(word, min_size=1, max_size=12))
    doc = Doc(VOCAB, words=words, spaces=draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))))
    cuts = sorted(draw(st.sets(st.integers(0, len(words)), max_size=8)))
    spans = [doc[start:end] for start, end in zip(cuts[::2], cuts[1::2], strict=False)]
    return doc, [(s.start_char, s.end_char, draw(st.sampled_from(LABELS))) for s in spans]


@given(labelled())
def test_offsets_survive_the_round_trip(case: tuple[Doc, list[tuple[int, int, str]]]) -> None:
    doc, entities = case
    tags = offsets_to_bio(doc, entities)
    assert len(tags) == len(doc)
    assert {tag.split("-")[0] for tag in tags} <= {"O", "B", "I"}
    assert bio_to_offsets(doc, tags) == entities


def test_the_tags_have_their_short_names() -> None:
    doc = Doc(VOCAB, words=["Ana", "Diaz", "left", "Acme", "for", "Rome"])
    entities = [(0, 8, "PERSON"), (14, 18, "ORGANIZATION"), (23, 27, "LOCATION")]
    assert offsets_to_bio(doc, entities) == ["B-PER", "I-PER", "O", "B-ORG", "O", "B-LOC"]


def test_a_range_inside_a_token_is_widened_and_overlap_refused() -> None:
    doc = Doc(VOCAB, words=["Rome-based", "Acme"])
    assert offsets_to_bio(doc, [(0, 4, "LOCATION")]) == ["B-LOC", "O"]
    with pytest.raises(ValueError, match="E103"):
        offsets_to_bio(doc, [(0, 4, "LOCATION"), (5, 10, "PERSON")])
