"""R8: offsets → BIO tags → offsets gives the same offsets back."""

from pathlib import Path
from typing import Any

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc

from annotate.bio import bio_text, bio_to_offsets, offsets_to_bio, read_bio
from catalog.errors import InputError

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


@st.composite
def labelled_text(draw: st.DrawFn) -> dict[str, Any]:
    text = draw(st.text(st.sampled_from("ab Z.,-'\n中文😀#\t="), min_size=1, max_size=30))
    places = [place for place, letter in enumerate(text) if not letter.isspace()]
    cuts = sorted(draw(st.sets(st.sampled_from(places), max_size=6))) if places else []
    entities = [
        {"start": start, "end": end + 1, "label": draw(st.sampled_from(LABELS))}
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return {"text": text, "entities": entities, "subject_id": "s", "start": 0, "who": "ana"}


@given(rows=st.lists(labelled_text(), min_size=1, max_size=3))
def test_a_file_of_tags_gives_the_labels_back(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "labels.bio"
    path.write_text("".join(bio_text(row) for row in rows), encoding="utf-8")
    assert [row for _, row in read_bio(path)] == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Ana\n", "line 1: 'Ana' is no word with its tag"),
        ("Ana X-PER\n", "line 1: 'X-PER' is no BIO tag"),
        ('O O\n\n# text = "Bo"\nAna B-PER\n', "line 3: word 'Ana' is not in the text"),
        ("# text = Bo\nBo O\n", "line 1: comment 'text' is not JSON"),
    ],
)
def test_what_is_no_tag_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.bio"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(read_bio(path))


def test_tags_of_others_come_without_comments(tmp_path: Path) -> None:
    path = tmp_path / "labels.conll"
    path.write_text("Ana NNP B-PER\nDiaz NNP I-PER\nleft VBD O\n", encoding="utf-8")
    ((_, row),) = read_bio(path)
    assert row == {"text": "Ana Diaz left", "entities": [{"start": 0, "end": 8, "label": "PERSON"}]}
