"""A pipeline learned from labels: it finds what they teach, loads without pickles, and serves the annotator."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import spacy
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from annotate.annotator import SUBJECTS, Annotator
from annotate.learned import MAX_WORDS
from annotate.lesson import Lesson, Recipe
from annotate.nlp import learned_relations, load_nlp, model_version
from annotate.queue import queue
from annotate.settings import AnnotationSchema
from annotate.teach import predict, teach
from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights, resolve

FIRST = ("Ana", "Carl", "Maria", "John", "Lucy", "Peter", "Olga", "Ivan")
LAST = ("Lopez", "Diaz", "Smith", "Novak", "Berg", "Rossi")
FIRMS = ("Acme", "Siemens", "Globex", "Initech", "Umbrella", "Hooli")
SAYS = ("{0} pilots ships for {1} .", "Yesterday {0} sued {1} .", "{1} is where {0} is an engineer .")
RELATED = (True, False, True)


def sentence(number: int, rng: random.Random) -> dict[str, Any]:
    """A sentence of a person and a firm, of which two of three kinds say that one works for the other."""
    person, firm, kind = f"{rng.choice(FIRST)} {rng.choice(LAST)}", rng.choice(FIRMS), number % len(SAYS)
    text = SAYS[kind].format(person, firm)
    places = (text.index(person), text.index(firm))
    entities = [
        {"start": places[0], "end": places[0] + len(person), "label": "PER"},
        {"start": places[1], "end": places[1] + len(firm), "label": "ORG"},
    ]
    relations = [{"head": 0, "tail": 1, "label": "WORKS_FOR"}] if RELATED[kind] else []
    return {"text": text, "entities": entities, "relations": relations, "who": "ana"}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a real, very small BERT of random weights and a tokenizer over letters."""
    folder = tmp_path_factory.mktemp("encoder")
    letters = {token: index for index, token in enumerate(["[UNK]", "[PAD]", *map(chr, range(33, 127))])}
    letters |= {f"##{letter}": len(letters) + index for index, letter in enumerate(map(chr, range(33, 127)))}
    tokenizer = Tokenizer(models.WordPiece(letters, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def result(weights: Weights, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("learned")
    rng = random.Random(0)
    labels = write(folder / "labels.jsonl", [sentence(number, rng) for number in range(90)])
    test = write(folder / "test.jsonl", [sentence(number, rng) for number in range(15)])
    lesson = Lesson(
        (labels,), folder / "models" / "news", encoder=encoder, test=test
    )  # as in the guide: a folder in none
    return teach(lesson, Recipe(epochs=10, min_steps=0, tuned_layers=1), lambda _: None)


@pytest.fixture(scope="module")
def model(result: dict[str, Any]) -> Weights:
    return resolve("spacy", result["output"])


@pytest.fixture(scope="module")
def learned(model: Weights) -> Annotator:
    return Annotator(AnnotationSchema(), {"en": model})


def annotations(annotator: Annotator, *texts: str) -> list[dict[str, Any]]:
    rows = [
        {"subject_id": f"{n}", "subject_kind": "document", "language": "en", "text": t} for n, t in enumerate(texts)
    ]
    return [dict(row) for row in annotator(pa.Table.from_pylist(rows, schema=SUBJECTS))["annotations"].to_pylist()]


def test_it_finds_what_the_labels_teach(result: dict[str, Any]) -> None:
    assert (result["labelled"], result["tested"]) == (90, 15)
    assert result["entities"]["all"]["f1"] > 0.9
    assert result["relations"]["WORKS_FOR"]["f1"] > 0.9


def test_the_folder_is_a_spacy_pipeline_that_tells_what_it_knows(model: Weights, result: dict[str, Any]) -> None:
    nlp = spacy.load(result["output"])
    assert nlp.pipe_names[-2:] == ["ner", "headrace_learned"]
    assert nlp.pipe_labels["headrace_learned"] == ["ORGANIZATION", "PERSON"]
    assert learned_relations(model) == ("WORKS_FOR",)
    assert "_learned 3.8.0+" in str(model_version(model))
    texts = ["Olga Berg pilots ships for Hooli .", ""]
    assert predict(nlp, texts) == predict(load_nlp(model), texts)


def test_no_file_of_the_component_is_a_pickle(model: Weights) -> None:
    assert model.path is not None
    files = sorted(file.name for file in (model.path / "headrace_learned").iterdir())
    assert files == ["encoder.json", "learned.json", "tokenizer.json", "weights.safetensors"]


def test_the_annotator_gives_probabilities_and_evidence(learned: Annotator) -> None:
    first = "😀 Yesterday Carl Diaz sued Acme . "
    (row,) = annotations(learned, f"{first}Olga Berg pilots ships for Hooli .")
    found = [(e["text"], e["label"]) for e in row["entities"]]
    assert found[-2:] == [("Olga Berg", "PERSON"), ("Hooli", "ORGANIZATION")]
    assert all(0.3 < e["score"] <= 1 for e in row["entities"])
    (relation,) = row["relations"]
    assert (relation["label"], relation["head"], relation["tail"]) == ("WORKS_FOR", len(found) - 2, len(found) - 1)
    assert 0.5 <= relation["score"] <= 1
    assert relation["start"] == len(first)


def test_patterns_find_what_was_not_learned_and_the_setting_chooses(learned: Annotator, model: Weights) -> None:
    text = "Olga Berg pilots ships for Hooli . Munich is in Germany."
    patterns = Annotator(AnnotationSchema(relation_source="patterns"), {"en": model})
    labels = [{r["label"] for r in annotations(who, text)[0]["relations"]} for who in (learned, patterns)]
    assert "WORKS_FOR" in labels[0]
    assert "WORKS_FOR" not in labels[1]


def test_only_the_schemas_relations_and_labels_come_out(model: Weights) -> None:
    people = Annotator(AnnotationSchema(entities=("PERSON",)), {"en": model})
    (row,) = annotations(people, "Olga Berg pilots ships for Hooli .")
    assert [e["label"] for e in row["entities"]] == ["PERSON"]
    assert row["relations"] == []


def test_the_same_rows_whatever_the_order_and_the_company(learned: Annotator) -> None:
    rng = random.Random(1)
    texts = [" ".join(sentence(n, rng)["text"] for n in range(size)) for size in (1, 3, 2, 9, 1)]
    alone = [annotations(learned, text)[0] for text in texts]
    together = annotations(learned, *texts)
    assert [{**row, "subject_id": ""} for row in together] == [{**row, "subject_id": ""} for row in alone]


def test_an_endless_sentence_is_read_in_pieces(learned: Annotator) -> None:
    (row,) = annotations(learned, f"{'very ' * MAX_WORDS} " * 6)
    assert row["relations"] == []
    many = f"{', '.join(FIRMS * 40)} hired {', '.join(f'{one} {other}' for one in FIRST for other in LAST)}."
    (row,) = annotations(learned, many)
    assert len(row["entities"]) > 40


@pytest.mark.parametrize(
    ("rows", "message"),
    [([], "no labels"), ([sentence(0, random.Random(0))], "1 labelled sentences; 8 are the least")],
)
def test_too_few_labels_are_an_error(
    rows: list[dict[str, Any]], message: str, weights: Weights, encoder: str, tmp_path: Path
) -> None:
    labels = write(tmp_path / "few.jsonl", rows)
    lesson = Lesson((labels,), tmp_path / "model", encoder=encoder, test=labels)
    with pytest.raises(InputError, match=message):
        teach(lesson, Recipe(), lambda _: None)


def test_a_folder_that_holds_something_is_not_written_to(encoder: str, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(InputError, match="not empty"):
        teach(Lesson((), tmp_path, encoder=encoder), Recipe(), lambda _: None)


def test_a_place_that_cannot_be_written_is_told_before_training(encoder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        teach(Lesson((), tmp_path / "file" / "model", encoder=encoder), Recipe(), lambda _: None)


def test_a_component_that_lost_its_description_is_named(model: Weights, tmp_path: Path) -> None:
    assert model.path is not None
    folder = tmp_path / "model" / "headrace_learned"
    folder.mkdir(parents=True)
    (tmp_path / "model" / "config.cfg").touch()
    (folder / "learned.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelUnavailable, match=r"learned\.json does not tell"):
        learned_relations(resolve("spacy", str(tmp_path / "model")))


def test_a_learned_models_own_margins_order_the_queue(learned: Annotator) -> None:
    text = "Olga Berg pilots ships for Hooli . Hooli Berg Olga sued ships Smith Acme ."
    row = {"subject_id": "a", "subject_kind": "document", "url": None, "language": "en", "text": text}
    found = queue([row], learned, set(), 5)
    assert [item["uncertainty"] for item in found] == sorted((item["uncertainty"] for item in found), reverse=True)
    assert all(0 < item["uncertainty"] <= 1 for item in found)
    for item in found:
        assert all(item["text"][e["start"] : e["end"]] == e["text"] and e["score"] for e in item["entities"])
    assert queue([row], learned, {("a", item["start"], item["text"]) for item in found}, 5) == []
