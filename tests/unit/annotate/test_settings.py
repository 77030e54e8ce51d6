"""The section annotation_schema: REQUIREMENTS' JSON loads, mistakes are named, patterns come from anywhere."""

import json
from pathlib import Path

import pytest
import yaml

from annotate.job import make_worker
from annotate.settings import AnnotateSettings, AnnotationSchema, read_patterns, result_settings
from catalog.errors import ConfigError
from catalog.settings import Config

AS_ASKED = {"entities": ["PERSON", "ORGANIZATION", "LOCATION"], "relations": ["WORKS_FOR", "LOCATED_IN"]}
OWNS = {
    "id": "owns",
    "relation": "OWNS",
    "confidence": 0.9,
    "nodes": [
        {"RIGHT_ID": "own", "RIGHT_ATTRS": {"LEMMA": "own"}},
        {"LEFT_ID": "own", "REL_OP": ">", "RIGHT_ID": "head", "RIGHT_ATTRS": {"DEP": "nsubj"}},
        {"LEFT_ID": "own", "REL_OP": ">", "RIGHT_ID": "tail", "RIGHT_ATTRS": {"DEP": "dobj"}},
    ],
}
OPTIONAL = [
    {"NODE": "head", "ENT_TYPE": "PERSON", "OP": "?"},
    {"ORTH": "of"},
    {"NODE": "tail", "ENT_TYPE": "ORGANIZATION"},
]


def parse(**given: object) -> AnnotationSchema:
    return AnnotateSettings.parse({"annotation_schema": given}, "conf.yaml").annotation_schema


def test_the_schema_of_the_requirements_loads_and_is_the_default() -> None:
    assert parse(**AS_ASKED) == AnnotationSchema()


def test_shipped_patterns_cover_both_relations_with_unique_ids() -> None:
    patterns = AnnotationSchema().all_patterns()
    assert {pattern.relation for pattern in patterns} == {"WORKS_FOR", "LOCATED_IN"}
    assert len({pattern.id for pattern in patterns}) == len(patterns)


def test_only_patterns_of_listed_relations_are_used() -> None:
    assert {pattern.relation for pattern in parse(relations=["LOCATED_IN"]).all_patterns()} == {"LOCATED_IN"}


@pytest.mark.parametrize(
    ("label", "expected"),
    [("ORG", "ORGANIZATION"), ("GPE", "LOCATION"), ("FAC", "LOCATION"), ("PER", "PERSON"), ("DATE", None)],
)
def test_model_labels_map_to_the_schema(label: str, expected: str | None) -> None:
    assert AnnotationSchema().label(label) == expected


def test_a_label_map_of_ones_own_wins_and_may_drop_a_label() -> None:
    schema = parse(entities=["PLACE", "PERSON", "DATE"], relations=[], label_map={"GPE": "PLACE", "FAC": "NOTHING"})
    assert [schema.label(name) for name in ("GPE", "FAC", "DATE", "PERSON")] == ["PLACE", None, "DATE", "PERSON"]


def test_a_users_pattern_is_added_inline_and_from_a_file(tmp_path: Path) -> None:
    relations = [*AS_ASKED["relations"], "OWNS"]
    inline = parse(relations=relations, patterns=[OWNS])
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"patterns": [OWNS]}), encoding="utf-8")
    assert parse(relations=relations, patterns=str(file)) == inline
    assert "owns" in {pattern.id for pattern in inline.all_patterns()}


def test_a_users_pattern_replaces_its_namesake() -> None:
    first = AnnotationSchema().all_patterns()[0]
    mine = {**first.model_dump(), "confidence": 0.11}
    kept = [pattern for pattern in parse(patterns=[mine]).all_patterns() if pattern.id == first.id]
    assert [pattern.confidence for pattern in kept] == [0.11]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entitys": ["PERSON"]}, "did you mean 'annotation_schema.entities'|did you mean 'entities'"),
        ({"patterns": [OWNS]}, "relation OWNS is not listed"),
        ({"patterns": [{**OWNS, "relation": "WORKS_FOR", "nodes": OWNS["nodes"][:2]}]}, "RIGHT_ID: tail"),
        ({"patterns": [{**OWNS, "confidence": 2}]}, "less than or equal to 1"),
        ({"patterns": [{**OWNS, "nodes": [{**node, "RIGHT_ATTRS": None} for node in OWNS["nodes"]]}]}, "a mapping"),
        ({"patterns": [{**OWNS, "nodes": (), "tokens": OPTIONAL}]}, "one token each; leave OP out"),
        ({"models": {"zh-CN": "zh_core_web_md"}}, r"models\.zh-CN: .*write zh"),
        ({"models": {"EN": "en_core_web_sm"}}, r"models\.EN: .*write en"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(**given)


@pytest.mark.parametrize("given", [{"relations": ["FOUNDED"]}, {"relation_source": "learned"}])
def test_a_relation_that_nothing_can_find_is_named(given: dict[str, object]) -> None:
    config = Config({"annotation_schema": given})
    with pytest.raises(ConfigError, match=r"relation \w+ has no pattern and no model has learned it"):
        make_worker(config)


@pytest.mark.parametrize(
    ("source", "own", "patterns"),
    [
        ("auto", ("WORKS_FOR",), {"LOCATED_IN"}),
        ("patterns", (), {"WORKS_FOR", "LOCATED_IN"}),
        ("learned", ("WORKS_FOR",), set()),
        ("both", ("WORKS_FOR",), {"WORKS_FOR", "LOCATED_IN"}),
    ],
)
def test_relations_are_divided_between_model_and_patterns(
    source: str, own: tuple[str, ...], patterns: set[str]
) -> None:
    found, left = parse(relation_source=source).divide(("KILLED", "WORKS_FOR"))
    assert (found, {pattern.relation for pattern in left}) == (own, patterns)


def test_a_missing_or_broken_pattern_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        parse(patterns=str(tmp_path / "nowhere.yaml"))
    (tmp_path / "bad.yaml").write_text("patterns: [{id: x}]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.yaml: patterns\.0\.relation"):
        read_patterns(tmp_path / "bad.yaml")


def test_result_settings_are_json_and_change_with_the_patterns() -> None:
    plain = json.dumps(result_settings(AnnotationSchema()))
    assert json.dumps(result_settings(parse(patterns=[{**OWNS, "relation": "WORKS_FOR"}]))) != plain
    assert json.dumps(result_settings(parse(num_topics=3))) != plain
