"""Chinese texts, without a spaCy model of the user's: names, relations, sentences and keywords with exact offsets."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language

from annotate.annotator import SUBJECTS, Annotator
from annotate.chinese import MAX_CHARACTERS, split_sentences
from annotate.job import language_weights
from annotate.nlp import load_nlp
from annotate.settings import AnnotationSchema
from annotate.topics import find_topics
from catalog.models import resolve
from catalog.settings import Config

TEXT = (
    "清华大学计算机系教授李明华表示，华为技术有限公司位于深圳。\n\n"
    "苏州市位于江苏省，马云没有在百度公司工作。伊恩·默多克出生于德国巴伐利亚州。"
)


@pytest.fixture(scope="module")
def chinese() -> Language:
    return load_nlp(resolve("spacy", "zh_lac"))


@pytest.fixture(scope="module")
def annotate_texts() -> Any:
    annotator = Annotator(AnnotationSchema(), {"zh": resolve("spacy", "zh_lac")})

    def run(texts: Sequence[str]) -> list[dict[str, Any]]:
        columns = [[str(i) for i in range(len(texts))], ["document"] * len(texts), [None] * len(texts)]
        columns += [["zh-CN"] * len(texts), list(texts)]
        subjects = pa.table([pa.array(column, pa.string()) for column in columns], schema=SUBJECTS)
        return list(annotator(subjects)["annotations"].to_pylist())

    return run


def test_names_and_relations_of_a_chinese_text(annotate_texts: Any) -> None:
    (row,) = annotate_texts([TEXT])
    names = [(TEXT[item["start"] : item["end"]], item["label"]) for item in row["entities"]]
    assert names == [
        ("清华大学", "ORGANIZATION"), ("李明华", "PERSON"), ("华为技术有限公司", "ORGANIZATION"), ("深圳", "LOCATION"),
        ("苏州市", "LOCATION"), ("江苏省", "LOCATION"), ("马云", "PERSON"), ("百度公司", "ORGANIZATION"),
        ("伊恩·默多克", "PERSON"), ("德国", "LOCATION"), ("巴伐利亚州", "LOCATION"),
    ]  # fmt: skip
    assert all(item["text"] == TEXT[item["start"] : item["end"]] for item in row["entities"])
    assert all(0 < item["score"] <= 1 for item in row["entities"])
    related = [(names[item["head"]][0], item["label"], names[item["tail"]][0]) for item in row["relations"]]
    assert related == [
        ("李明华", "WORKS_FOR", "清华大学"),
        ("苏州市", "LOCATED_IN", "江苏省"),
        ("巴伐利亚州", "LOCATED_IN", "德国"),
    ]  # and not that 马云 works for 百度公司, which the text denies
    assert TEXT[row["relations"][0]["start"] : row["relations"][0]["end"]].startswith("清华大学")
    assert row["annotator"] == "zh_lac 0.1.0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("李明是北京大学教授。", [("李明", "WORKS_FOR", "北京大学")]),
        ("王芳在华为公司工作。", [("王芳", "WORKS_FOR", "华为公司")]),
        ("刘洋任职于阿里巴巴集团。", [("刘洋", "WORKS_FOR", "阿里巴巴集团")]),
        ("李明不是北京大学教授。", []),
        ("北京大学前校长蔡元培先生。", []),
        ("巴黎是法国的首都。", [("巴黎", "LOCATED_IN", "法国")]),
        ("我们去了巴黎和法国。", []),
    ],
)
def test_relations_by_token_patterns(annotate_texts: Any, text: str, expected: list[tuple[str, str, str]]) -> None:
    (row,) = annotate_texts([text])
    texts = [item["text"] for item in row["entities"]]
    assert [(texts[item["head"]], item["label"], texts[item["tail"]]) for item in row["relations"]] == expected


def test_a_row_is_the_same_in_any_company(annotate_texts: Any) -> None:
    alone = [annotate_texts([text])[0] for text in (TEXT, "北京。", "")]
    together = annotate_texts([TEXT, "北京。", ""])
    assert [row | {"subject_id": ""} for row in together] == [row | {"subject_id": ""} for row in alone]


@settings(max_examples=60)
@given(st.text("北京张三在工作。！\n “”A1é·，\u2028𠮷😀", max_size=60) | st.text(max_size=40))
def test_no_character_is_lost_or_moved(chinese: Language, text: str) -> None:
    doc = chinese(text)
    assert doc.text == text
    assert all(text[span.start_char : span.end_char] == span.text for span in doc.ents)


@given(st.text("好，。！”\n a", max_size=900))
def test_sentences_are_whole_and_bounded(text: str) -> None:
    pieces = list(split_sentences(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= MAX_CHARACTERS for piece in pieces)


def test_sentences_end_at_marks_and_blocks(chinese: Language) -> None:
    doc = chinese("他说：“好！”我走了。\n\n第二段")
    assert [sentence.text for sentence in doc.sents] == ["他说：“好！”", "我走了。", "\n\n", "第二段"]


def test_keywords_are_words_without_blanks_and_names_apart(chinese: Language) -> None:
    labels = [label for label, _ in find_topics(chinese(TEXT), 20)]
    assert "计算机系教授" in labels and "清华大学" in labels and "李明华" in labels
    assert not any(" " in label or len(label) == 1 for label in labels)


def test_a_users_model_wins_and_chinese_has_one_otherwise() -> None:
    config = Config({}, "conf.yaml")
    schema = AnnotationSchema()
    assert language_weights(config, schema)["zh"].name == "zh_lac"
    own = schema.model_copy(update={"models": {"zh": "zh_core_web_md"}})
    assert language_weights(config, own)["zh"].name == "zh_core_web_md"
    chinese_only = Config({"models": {"spacy": "zh_core_web_md"}}, "conf.yaml")
    assert [weights.name for weights in language_weights(chinese_only, schema).values()] == ["zh_core_web_md"]
