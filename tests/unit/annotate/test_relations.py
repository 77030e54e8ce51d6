"""Relations by dependency patterns: right pairs, evidence, confidence, and nothing where nothing is."""

import re

import pytest
from spacy.language import Language
from spacy.matcher import DependencyMatcher
from spacy.tokens import Doc

from annotate.dependencies import TreeMatcher
from annotate.entities import set_schema_entities
from annotate.relations import Relation, RelationFinder
from annotate.settings import SHIPPED_PATTERNS, AnnotateSettings, AnnotationSchema, Pattern, read_patterns
from catalog.errors import ConfigError


def relate(nlp: Language, text: str, schema: AnnotationSchema | None = None) -> list[tuple[str, str, str, Relation]]:
    schema = schema or AnnotationSchema()
    doc = nlp(text)
    entities = set_schema_entities(doc, schema)
    finder = RelationFinder(nlp.vocab, schema.all_patterns())
    return [(r.label, entities[r.head].text, entities[r.tail].text, r) for r in finder.find(doc, entities)]


def triples(nlp: Language, text: str) -> set[tuple[str, str, str]]:
    return {found[:3] for found in relate(nlp, text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Maria Lopez, president of Siemens, spoke.", ("WORKS_FOR", "Maria Lopez", "Siemens")),
        ("Microsoft spokesman Carl Diaz denied it.", ("WORKS_FOR", "Carl Diaz", "Microsoft")),
        ("John Smith works for Microsoft.", ("WORKS_FOR", "John Smith", "Microsoft")),
        ("John Smith, who works for Microsoft, resigned.", ("WORKS_FOR", "John Smith", "Microsoft")),
        ("Microsoft hired John Smith.", ("WORKS_FOR", "John Smith", "Microsoft")),
        ("They flew to Paris, France on Monday.", ("LOCATED_IN", "Paris", "France")),
        ("The fire broke out in Portland, Maine.", ("LOCATED_IN", "Portland", "Maine")),
        ("Munich is in Germany.", ("LOCATED_IN", "Munich", "Germany")),
    ],
)
def test_what_a_sentence_says_is_found(nlp: Language, text: str, expected: tuple[str, str, str]) -> None:
    assert expected in triples(nlp, text)


@pytest.mark.parametrize(
    "text",
    [
        "John Smith sued Microsoft.",
        "John Smith, the founder of Microsoft, spoke.",
        "They visited Norway, Sweden and Denmark.",
        "He flew from Paris to Berlin.",
        "Frogs need water and light.",
        "Carl Diaz never worked for Siemens.",
        "Carl Diaz does not work for Siemens.",
        "Carl Diaz no longer works for Siemens.",
        "Carl Diaz is not a reporter for Reuters.",
        "Carl Diaz, who never worked for Siemens, spoke.",
        "Carl Diaz was not named director of Siemens.",
        "Siemens did not hire Carl Diaz.",
        "Geneva is not in France.",
        "He visited Newark near New York.",
        "They met in Watford outside London.",
        "Our offices are in London, Washington and Tokyo.",
        "Trains run to Boston, New York, Washington and Miami.",
    ],
)
def test_nothing_is_invented(nlp: Language, text: str) -> None:
    assert triples(nlp, text) == set()


def test_evidence_is_the_sentence_in_code_points(nlp: Language) -> None:
    first = "😀 Frogs sing. "
    second = "Maria Lopez, president of Siemens, spoke."
    ((_, _, _, relation),) = relate(nlp, first + second)
    assert (relation.start, relation.end) == (len(first), len(first) + len(second))
    assert 0 < relation.score <= 1


def test_entities_of_two_blocks_are_never_joined(nlp: Language) -> None:
    joined = relate(nlp, "Visit Paris, France")
    assert [found[:3] for found in joined] == [("LOCATED_IN", "Paris", "France")]
    assert relate(nlp, "Visit Paris,\n\nFrance") == []


def test_the_most_confident_pattern_speaks_for_a_pair(nlp: Language) -> None:
    weak = AnnotateSettings.parse(
        {
            "annotation_schema": {
                "use_shipped_patterns": False,
                "relations": ["LOCATED_IN"],
                "patterns": [_pair("weak", 0.2), _pair("strong", 0.7)],
            }
        },
        "test",
    ).annotation_schema
    assert [found[3].score for found in relate(nlp, "They flew to Paris, France.", weak)] == [0.7]


def test_a_pattern_of_another_language_is_not_tried(nlp: Language) -> None:
    def found(language: str | None) -> int:
        pattern = {**_pair("pair", 0.7), "language": language}
        given = {"use_shipped_patterns": False, "relations": ["LOCATED_IN"], "patterns": [pattern]}
        schema = AnnotateSettings.parse({"annotation_schema": given}, "test").annotation_schema
        return len(relate(nlp, "They flew to Paris, France.", schema))

    assert [found("en"), found(None), found("zh")] == [1, 1, 0]


def test_a_pattern_that_is_none_is_named(nlp: Language) -> None:
    broken = Pattern(id="broken", relation="X", confidence=1, nodes=({"RIGHT_ID": "head"}, {"RIGHT_ID": "tail"}))
    with pytest.raises(ConfigError, match="'broken' is not a dependency pattern"):
        RelationFinder(nlp.vocab, [broken])


@pytest.mark.parametrize(
    "wanted",
    [
        {"LEMMA": {"REGEX": "("}},  # no regular expression
        {"LEMMA": {"INN": ["in"]}},  # a misspelt operator, which spaCy would leave out
        {"LOWER": {"IN": ["in", True]}},  # what YAML makes of an unquoted `on`
    ],
)
def test_a_nodes_mistake_is_named(nlp: Language, wanted: dict[str, object]) -> None:
    given = _pair("mine", 0.5)
    given["nodes"][1]["RIGHT_ATTRS"] = wanted  # type: ignore[index]
    with pytest.raises(ConfigError, match="'mine' is not a dependency pattern"):
        RelationFinder(nlp.vocab, [Pattern.model_validate(given)])


def test_words_of_the_shipped_patterns_are_words() -> None:
    assert "off" in str(read_patterns(SHIPPED_PATTERNS[0]))
    for path in SHIPPED_PATTERNS:
        for pattern in read_patterns(path):
            assert not re.search(r"\b(True|False|None)\b", str((pattern.nodes, pattern.tokens))), pattern.id


def test_a_tree_of_words_is_matched_as_spacy_does(nlp: Language) -> None:
    given = [pattern for pattern in read_patterns(SHIPPED_PATTERNS[0]) if pattern.nodes]
    ours, theirs = TreeMatcher(nlp.vocab), DependencyMatcher(nlp.vocab)
    for matcher in (ours, theirs):
        for pattern in given:
            matcher.add(pattern.id, [[dict(node) for node in pattern.nodes]])
    text = (
        "Ana Diaz, president of Acme, works for Siemens in Munich, Germany. Paul Berg of Intel met Eva Lind, head of "
        "the rail division of Bosch, at a hotel in Paris, the capital of France. The village is in Spain."
    )
    doc = nlp(text)
    set_schema_entities(doc, AnnotationSchema())
    found = sorted(map(repr, ours(doc)))
    assert len(found) > 3 and found == sorted(map(repr, theirs(doc)))


def test_a_long_list_in_one_sentence_is_no_product_of_its_words(nlp: Language) -> None:
    pattern = {**_pair("chain", 0.5), "nodes": [
        {"RIGHT_ID": "head", "RIGHT_ATTRS": {"ENT_TYPE": "LOCATION"}},
        *({"LEFT_ID": left, "REL_OP": ">", "RIGHT_ID": right, "RIGHT_ATTRS": {"DEP": "prep"}}
          for left, right in (("head", "one"), ("one", "two"))),
        {"LEFT_ID": "two", "REL_OP": ">", "RIGHT_ID": "tail", "RIGHT_ATTRS": {"ENT_TYPE": "LOCATION"}},
    ]}  # fmt: skip
    words = ["Rome", "of"] * 600  # 600 ** 4 combinations, which spaCy's own matcher tries one after the other
    last = len(words)
    heads = [0, 0, 0, 1, 3, *[0] * (last - 5)]  # the first Rome → of → of → the third Rome
    doc = Doc(
        nlp.vocab, words, ents=["B-LOCATION", "O"] * 600, heads=heads, deps=["ROOT", *["prep"] * (last - 1)],
        sent_starts=[True, *[False] * (last - 1)],
    )  # fmt: skip
    (found,) = RelationFinder(nlp.vocab, [Pattern.model_validate(pattern)]).find(doc, doc.ents)
    assert (found.head, found.tail) == (0, 2)


def _pair(name: str, confidence: float) -> dict[str, object]:
    return {
        "id": name,
        "relation": "LOCATED_IN",
        "confidence": confidence,
        "nodes": [
            {"RIGHT_ID": "head", "RIGHT_ATTRS": {"ENT_TYPE": "LOCATION"}},
            {"LEFT_ID": "head", "REL_OP": ">", "RIGHT_ID": "tail", "RIGHT_ATTRS": {"ENT_TYPE": "LOCATION"}},
        ],
    }


@pytest.mark.parametrize("run", [1, 12, 25])
def test_a_long_text_read_in_runs_gives_what_it_gives_whole(
    nlp: Language, monkeypatch: pytest.MonkeyPatch, run: int
) -> None:
    text = (
        "Maria Lopez, president of Siemens, spoke. Frogs need water. John Smith, who works for Microsoft, resigned.\n\n"
        "They flew to Paris, France on Monday. Munich is in Germany. Carl Diaz never worked for Siemens."
    )
    whole = relate(nlp, text)
    assert len(whole) == 4
    monkeypatch.setattr("annotate.relations.RUN", run)
    assert relate(nlp, text) == whole
