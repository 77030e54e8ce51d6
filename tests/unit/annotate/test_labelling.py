"""Queue, import, agreement, export and triples over a home with documents and transcripts of both kinds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from annotate.annotated import annotated
from annotate.annotator import Annotator, document_subjects, transcript_subjects
from annotate.cli import app
from annotate.labelling import Choice, write_labels, write_queue
from annotate.labels import read_labels
from annotate.reviewed import agreement, import_labels, reviewed
from annotate.triples import triples, verbalise
from catalog import schema
from catalog.errors import ConfigError, InputError
from catalog.home import Home
from catalog.ids import text_sha256
from catalog.settings import Config
from catalog.stage import Stage, StageReport

SAID = (
    "It rained. 😀 Maria Lopez, president of Siemens, lives in Munich, Germany.\n\nThe river Isar was high last week."
)
SPOKEN = "John Smith works for Microsoft."
CRAWL = Stage(
    "crawl", (), ("documents", "transcripts", "annotations"), 1, lambda _: {}, lambda *_: StageReport("crawl")
)


@pytest.fixture(scope="module")
def home(annotator: Annotator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    given = {"root": str(tmp_path_factory.mktemp("home")), "models": "offline"}
    document = {
        "document_id": "d1",
        "url": "http://t/a",
        "language": "en",
        "text": SAID,
        "text_sha256": text_sha256(SAID),
    }
    documents = pa.Table.from_pylist([document], schema=schema.body("documents"))
    spoken = {"media_id": "m1", "language": "en", "text": SPOKEN}
    transcripts = pa.Table.from_pylist([spoken], schema=schema.body("transcripts"))
    notes = [
        annotator(subjects)["annotations"]
        for subjects in (document_subjects(documents), transcript_subjects(transcripts))
    ]
    tables = {"documents": documents, "transcripts": transcripts, "annotations": pa.concat_tables(notes)}
    with Home.open(Config(given).catalog) as opened:
        opened.publish_origin(CRAWL, "segment", 2, tables, {})
        yield opened


def config(home: Home) -> Config:
    return Config({"root": str(home.root), "models": "offline"})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_triples_lead_to_their_sentences_in_documents_and_transcripts(home: Home) -> None:
    found = {item["line"]: item for item in triples(annotated(home.view()))}
    assert found.keys() == {
        "Maria Lopez works for Siemens", "Munich located in Germany", "John Smith works for Microsoft",
    }  # fmt: skip
    for item in found.values():
        text = SAID if item["subject_id"] == "d1" else SPOKEN
        assert text[item["start"] : item["end"]] == item["sentence"]
        assert text[item["head_start"] : item["head_end"]] == item["head"]
        assert text[item["tail_start"] : item["tail_end"]] == item["tail"]
        assert item["start"] <= item["head_start"] and item["tail_end"] <= item["end"]
        assert 0 < item["score"] <= 1 and len(item["version"]) == 12 and "3.8.0" in item["annotator"]
    assert found["John Smith works for Microsoft"]["subject_kind"] == "transcript"
    only = list(triples(annotated(home.view()), "LOCATED_IN", 0.5))
    assert [item["relation"] for item in only] == ["LOCATED_IN"]
    assert list(triples(annotated(home.view()), None, 1.0)) == []


def test_a_triple_in_words() -> None:
    assert verbalise("Maria\nLopez", "WORKS_FOR", "Siemens") == "Maria Lopez works for Siemens"


def test_the_command_prints_one_json_document(home: Home) -> None:
    result = CliRunner().invoke(app, ["triples", "--root", str(home.root), "--json", "--relation", "WORKS_FOR"])
    assert result.exit_code == 0, result.output
    assert {item["tail"] for item in json.loads(result.stdout)["triples"]} == {"Siemens", "Microsoft"}


@pytest.mark.parametrize("name", ["labels.bio", "labels.jsonl"])
def test_annotations_are_exported_by_block_and_read_back(home: Home, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write_labels(home, None, False, path)["texts"] == 3
    items = {(item.subject, item.start): item for item in read_labels(path)}
    assert items.keys() == {("d1", 0), ("d1", SAID.index("The river")), ("m1", 0)}
    first = items["d1", 0]
    assert first.text == SAID.split("\n\n")[0]
    said = {(first.text[start:end], label) for start, end, label in first.entities}
    assert said >= {("Maria Lopez", "PERSON"), ("Siemens", "ORGANIZATION"), ("Munich", "LOCATION")}
    assert bool(first.relations) == (name == "labels.jsonl")
    again = tmp_path / f"again-{name}"
    write_labels(None, path, False, again)
    assert read_labels(again) == read_labels(path)


def test_a_queue_is_labelled_imported_and_not_asked_again(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    made = write_queue(config(home), path, 10, Choice())
    rows = lines(path)
    assert (made["texts"], made["sentences"]) == (2, len(rows))
    assert [row["uncertainty"] for row in rows] == sorted((row["uncertainty"] for row in rows), reverse=True)
    with pytest.raises(InputError, match="not in that language"):
        write_queue(config(home), path, 10, Choice(language="zh"))
    texts = {"d1": SAID, "m1": SPOKEN}
    for row in rows:
        assert texts[row["subject_id"]][row["start"] :].startswith(row["text"])
    assert import_labels(home, path, "ana") == {
        "file": str(path), "new": 0, "labelled": 0, "open": len(rows), "agreement": [],
    }  # fmt: skip

    path.write_text("".join(json.dumps(row | {"reviewed": True}) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError, match="line 1: nobody's labels"):
        import_labels(home, path, "")
    assert import_labels(home, path, "ana")["new"] == len(rows)
    assert import_labels(home, path, "ana")["new"] == 0
    assert write_queue(config(home), tmp_path / "rest.jsonl", 10, Choice())["sentences"] == 0

    rows[0]["entities"], rows[0]["relations"] = [], []
    path.write_text("".join(json.dumps(row | {"reviewed": True}) + "\n" for row in rows), encoding="utf-8")
    (pair,) = import_labels(home, path, "bo")["agreement"]
    assert (pair["who"], pair["texts"]) == (["ana", "bo"], len(rows))
    assert -1 <= pair["entities"] < 1
    stored = [row for row in home.view().read("reviews").to_pylist() if row["verdict"] == "agreement"]
    assert [json.loads(row["labels"]) for row in stored] == agreement(home)["pairs"] == [pair]
    assert len(reviewed(home.view())) == 2 * len(rows)
    assert write_labels(home, None, True, tmp_path / "said.bio")["texts"] == 2 * len(rows)


def test_who_changes_their_mind_is_heard(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    row = {"text": "Ana left.", "entities": [{"start": 0, "end": 3, "label": "PER"}], "who": "cleo"}
    for entities, new in ((row["entities"], 1), ([], 1), ([], 0), (row["entities"], 1)):
        path.write_text(json.dumps({**row, "entities": entities}) + "\n", encoding="utf-8")
        assert import_labels(home, path, "")["new"] == new
    (last,) = (item for item in reviewed(home.view()) if item.who == "cleo")
    assert last.entities == ((0, 3, "PERSON"),)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"subject_id": "d2", "text": "x"}, "subject d2 is no live document or transcript"),
        ({"subject_id": "d1", "text": "Maria", "start": 3}, "subject d1 has another text from 3 on"),
    ],
)
def test_labels_of_what_is_not_there_are_refused(
    home: Home, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(given) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"line 1: {message}"):
        import_labels(home, path, "ana")


def test_a_whole_documents_text_names_its_document(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"text": SAID}) + "\n", encoding="utf-8")
    import_labels(home, path, "dan")
    assert [item.subject for item in reviewed(home.view()) if item.who == "dan"] == ["d1"]


def test_the_stages_word_takes_a_configuration_or_a_command(home: Home, tmp_path: Path) -> None:
    run = CliRunner()
    assert isinstance(run.invoke(app, ["annotate", str(tmp_path / "nope.yaml")]).exception, ConfigError)
    assert "Missing argument" in run.invoke(app, ["annotate"]).output
    assert run.invoke(app, ["annotate", "--help"]).output.count("train") >= 1
    train = ["annotate", "train", "--output", str(tmp_path / "model"), "--reviews"]
    assert isinstance(run.invoke(app, [*train, str(tmp_path / "nothing")]).exception, InputError)
