"""Entities under the schema's labels, with clean ends."""

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span

from annotate.entities import set_schema_entities
from annotate.settings import AnnotationSchema


@pytest.fixture(scope="module")
def blank() -> Language:
    return spacy.blank("en")


def labelled(blank: Language, text: str, *entities: tuple[str, str]) -> Doc:
    doc = blank(text)
    spans = []
    for words, label in entities:
        start = text.index(words)
        span = doc.char_span(start, start + len(words), label=label)
        assert span is not None
        spans.append(span)
    doc.ents = spans
    return doc


def found(doc: Doc) -> list[tuple[str, str]]:
    return [(span.text, span.label_) for span in set_schema_entities(doc, AnnotationSchema())]


def test_labels_outside_the_schema_are_never_emitted(blank: Language) -> None:
    doc = labelled(blank, "Ana paid 5 dollars on Monday", ("Ana", "PERSON"), ("5 dollars", "MONEY"), ("Monday", "DATE"))
    assert found(doc) == [("Ana", "PERSON")]
    assert [span.label_ for span in doc.ents] == ["PERSON"]


@pytest.mark.parametrize(
    ("text", "entity", "clean"),
    [
        ("She left the Hudson Bank today", "the Hudson Bank", "Hudson Bank"),
        ("Visit Oslo\n\nNorway is cold", "Oslo\n\nNorway", "Oslo"),
        ("In Paris , again", "Paris ,", "Paris"),
    ],
)
def test_articles_line_ends_and_commas_are_cut(blank: Language, text: str, entity: str, clean: str) -> None:
    assert found(labelled(blank, text, (entity, "ORG"))) == [(clean, "ORGANIZATION")]


def test_a_possessive_ending_is_cut_by_its_tag(nlp: Language) -> None:
    doc = nlp("Rochester's mayor met Norway's king.")
    doc.ents = [Span(doc, 0, 2, label="GPE"), Span(doc, 4, 6, label="GPE")]
    assert [span.text for span in set_schema_entities(doc, AnnotationSchema())] == ["Rochester", "Norway"]


def test_an_entity_of_articles_alone_goes_away(blank: Language) -> None:
    assert found(labelled(blank, "the end", ("the", "ORG"))) == []
