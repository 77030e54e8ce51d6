"""Labels are checked on the way in, come out as they went in, and their authors' agreement is Cohen's."""

import json
from pathlib import Path
from typing import Any

import pytest

from annotate.agreement import agreements, kappa
from annotate.labels import Labelled, parse_labelled, read_labels
from annotate.scores import entity_scores, relation_scores
from catalog.errors import InputError

TEXT = "Ana Diaz left Acme for Rome."
ENTITIES = [
    {"start": 23, "end": 27, "label": "LOC"},
    {"start": 0, "end": 8, "label": "PER"},
    {"start": 14, "end": 18, "label": "ORG"},
]


def row(**changes: Any) -> dict[str, Any]:
    return {"text": TEXT, "entities": ENTITIES, "relations": [{"head": 1, "tail": 2, "label": "LEFT"}], **changes}


def test_entities_are_put_in_order_under_schema_labels_and_relations_follow() -> None:
    item = parse_labelled(row(), "here", "ana")
    assert item.entities == ((0, 8, "PERSON"), (14, 18, "ORGANIZATION"), (23, 27, "LOCATION"))
    assert (item.relations, item.who, item.start) == (((0, 1, "LEFT"),), "ana", 0)
    assert parse_labelled(item.as_row(), "there") == item


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": " "}, "field 'text'"),
        ({"start": -1}, "field 'start'"),
        ({"entities": "Ana"}, "field 'entities' must be a list"),
        ({"entities": [{"start": 0, "end": 99, "label": "PER"}]}, r"entities\[0\]: start and end"),
        ({"entities": [{"start": 8, "end": 8, "label": "PER"}]}, r"entities\[0\]: start and end"),
        ({"entities": [{"start": True, "end": 8, "label": "PER"}]}, r"entities\[0\]: start and end"),
        ({"entities": [{"start": 0, "end": 8, "label": "a b"}]}, "one word"),
        ({"entities": [{"start": 0, "end": 8, "label": "PER", "text": "Ann"}]}, "is not 'Ann'"),
        ({"entities": [*ENTITIES, {"start": 4, "end": 9, "label": "PER"}]}, "overlap"),
        ({"relations": [{"head": 0, "tail": 3, "label": "X"}]}, r"relations\[0\]: head and tail"),
        ({"relations": [{"head": 0, "tail": 0, "label": "X"}]}, r"relations\[0\]: head and tail"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^f, line 3: .*{message}"):
        parse_labelled(row(**changes), "f, line 3")


def test_a_files_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(row()) + "\n\n{\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"labels\.jsonl, line 3: not JSON"):
        read_labels(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_says(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    given = row(text=f"{TEXT}{separator}More.")
    path.write_text(json.dumps(given, ensure_ascii=False) + "\n", encoding="utf-8", newline="\r\n")
    assert [item.text for item in read_labels(path)] == [given["text"]]


def labelled(who: str, entities: tuple[tuple[int, int, str], ...], *relations: tuple[int, int, str]) -> Labelled:
    return Labelled("s", 0, TEXT, entities, relations, who)


def test_agreement_is_cohens_kappa_over_words_and_pairs() -> None:
    person, firm, place = (0, 8, "PERSON"), (14, 18, "ORGANIZATION"), (23, 27, "LOCATION")
    one = labelled("ana", (person, firm, place), (0, 1, "LEFT"))
    other = labelled("bo", (person, firm), (0, 1, "LEFT"))
    (found,) = agreements([other, one, Labelled("t", 0, "Alone.", (), (), "bo")])
    assert (found["who"], found["texts"], found["words"], found["pairs"]) == (["ana", "bo"], 1, 7, 6)
    # of 7 words 6 agree; by chance 1·1 + 1·1 + 1·1 + 3·4 of 49
    assert found["entities"] == pytest.approx((6 / 7 - 15 / 49) / (1 - 15 / 49))
    assert found["relations"] == pytest.approx(1.0)


def test_kappa_is_undefined_where_there_is_nothing_to_choose() -> None:
    assert kappa(["O", "O"], ["O", "O"]) is None
    assert kappa([], []) is None
    assert kappa(["A", "B", "A", "B"], ["B", "A", "B", "A"]) == pytest.approx(-1.0)


def test_scores_strict_and_by_overlap() -> None:
    gold = [parse_labelled(row(), "f").as_row()]
    shifted = [{**item, "start": 4} if item["label"] == "PERSON" else item for item in gold[0]["entities"]]
    guess = [{"entities": shifted, "relations": gold[0]["relations"]}]
    entities = entity_scores(gold, guess, ("PERSON", "ORGANIZATION"))
    assert (entities["PERSON"]["f1"], entities["ORGANIZATION"]["f1"], entities["all"]["f1"]) == (0, 1, 0.5)
    assert relation_scores(gold, guess, ("LEFT",), strict=True)["all"]["f1"] == 0
    assert relation_scores(gold, guess, ("LEFT",), strict=False)["all"]["f1"] == pytest.approx(1)
    assert relation_scores(gold, guess, ("OTHER",), strict=False)["all"]["num_found"] == 0
