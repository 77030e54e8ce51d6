"""Exports hold the current examples, in a fixed order, byte for byte the same each time."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import storybook
import yaml
from PIL import Image
from rich.console import Console
from storybook import PICTURE, PICTURE_ID, SITE, Story

from catalog import export
from catalog.card import bars
from catalog.errors import InputError
from catalog.home import Home
from catalog.schema import TABLES
from catalog.settings import CatalogSettings

FORMATS = ("jsonl", "parquet", "webdataset", "huggingface")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def current_ids(story: Story) -> list[str]:
    return sorted(story.examples[name]["example_id"] for name in ("a", "new"))


def test_current_examples_are_in_order_and_whole(story: Story) -> None:
    found = export.current_examples(story.home)
    assert found.schema == TABLES["examples"]
    assert found["example_id"].to_pylist() == current_ids(story)
    live = story.home.view().read("examples")
    assert set(map(str, found.to_pylist())) <= set(map(str, live.to_pylist()))


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_snapshot_gives_the_same_bytes(story: Story, file_format: Any, tmp_path: Path) -> None:
    first = export.export(story.home, file_format, tmp_path / "one")
    with Home.open(story.home.settings) as again:
        second = export.export(again, file_format, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert {**first, "output": ""} == {**second, "output": ""}
    assert first["rows"] == 2


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_manifest_names_every_file_and_its_hash(story: Story, file_format: Any, tmp_path: Path) -> None:
    result = export.export(story.home, file_format, tmp_path)
    files = contents(tmp_path)
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest == {name: value for name, value in result.items() if name != "output"}
    assert {item["name"]: (item["sha256"], item["bytes"]) for item in manifest["files"]} == {
        name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()
    }
    assert manifest["seq"] == story.home.view().seq
    assert (manifest["licences"], manifest["sources"]) == ({"CC-BY-4.0": 2}, {SITE: 2})


def test_parquet_and_jsonl_hold_the_rows_with_their_segments(story: Story, tmp_path: Path) -> None:
    export.export(story.home, "parquet", tmp_path / "parquet")
    export.export(story.home, "jsonl", tmp_path / "jsonl")
    rows = pq.read_table(tmp_path / "parquet" / "examples-000000.parquet")
    assert rows == export.current_examples(story.home)
    lines = [json.loads(line) for line in (tmp_path / "jsonl" / "examples-000000.jsonl").read_text().splitlines()]
    assert [line["segments"] for line in lines] == rows["segments"].to_pylist()
    assert [line["licence"] for line in lines] == ["CC-BY-4.0"] * 2


def test_webdataset_has_json_text_and_media_of_each_sample(story: Story, tmp_path: Path) -> None:
    export.export(story.home, "webdataset", tmp_path)
    with tarfile.open(tmp_path / "examples-000000.tar") as tar:
        members = {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
        assert {(item.mtime, item.uid, item.gid) for item in tar} == {(0, 0, 0)}
    key = story.examples["a"]["example_id"]
    assert members[f"{key}.0.png"] == PICTURE
    assert members[f"{key}.txt"].decode() == "The same words."
    described = json.loads(members[f"{key}.json"])
    assert described["media"] == {f"{key}.0.png": PICTURE_ID}
    assert described["source"] == SITE
    samples = [name.partition(".")[0] for name in members]
    assert samples == sorted(samples), "members of one sample stand together"


def test_datasets_loads_splits_and_decodes_pictures(story: Story, tmp_path: Path) -> None:
    import datasets

    export.export(story.home, "huggingface", tmp_path / "out")
    splits = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    rows = [row for split in splits.values() for row in split.remove_columns("audio")]
    assert sorted(row["example_id"] for row in rows) == current_ids(story)
    assert all(row["split"] == name for name, split in splits.items() for row in split.remove_columns("audio"))
    pictures = {row["example_id"]: [picture.size for picture in row["images"]] for row in rows}
    assert pictures[story.examples["a"]["example_id"]] == [Image.open(io.BytesIO(PICTURE)).size]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # rdflib's own, below mlcroissant
@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "huggingface"])
def test_croissant_is_valid_and_reads_the_rows_of_every_file(
    story: Story, file_format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlcroissant

    monkeypatch.setitem(export.FILE_ROWS, file_format, 1)
    told = export.export(story.home, file_format, tmp_path)
    assert sum(file["rows"] == 1 for file in told["files"]) == len(current_ids(story)) > 1
    dataset = mlcroissant.Dataset(tmp_path / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    read = sorted(row["examples/example_id"].decode() for row in dataset.records("examples"))
    assert read == current_ids(story)
    based = json.loads((tmp_path / "croissant.json").read_text())["isBasedOn"]
    assert [(one["url"], one["license"]) for one in based] == [(SITE, ["CC-BY-4.0"])]


def test_the_card_says_what_is_in_it(story: Story, tmp_path: Path) -> None:
    export.export(story.home, "huggingface", tmp_path)
    _, front, prose = (tmp_path / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    for entry in told["configs"][0]["data_files"]:
        assert list(tmp_path.glob(entry["path"])), entry
    assert "| CC-BY-4.0 | 2 |" in prose and f"| {SITE} | 2 |" in prose
    for name in re.findall(r"\(([^)]*\.svg)\)", prose):
        assert ElementTree.parse(tmp_path / name).getroot().tag.endswith("svg")


def test_bars_are_as_long_as_their_counts_and_escape_labels() -> None:
    root = ElementTree.fromstring(bars("A & B", [("<most>", 40), ("half", 20), ("none", 0)]))
    widths = [int(rect.get("width", "0")) for rect in root if rect.tag.endswith("rect") and rect.get("x")]
    assert widths[0] == 2 * widths[1] and widths[2] == 1
    assert "<most>" in "".join(root.itertext())


def test_media_that_cannot_be_read_are_named_and_left_out(story: Story, tmp_path: Path) -> None:
    segment = Path(story.home.warehouse) / storybook.WARC
    whole = segment.read_bytes()
    other = storybook.warc_member(storybook.png(4, 2))
    other += bytes(len(whole) - len(other))
    try:
        for name, damaged in {"cut": whole[:-20], "other": other, "gone": None}.items():
            segment.unlink() if damaged is None else segment.write_bytes(damaged)
            result = export.export(story.home, "webdataset", tmp_path / name)
            assert result["rows"] == 2, name
            assert [item["media_id"] for item in result["missing_media"]] == [PICTURE_ID], name
            with tarfile.open(tmp_path / name / "examples-000000.tar") as tar:
                assert sorted(member.rpartition(".")[2] for member in tar.getnames()) == ["json", "json", "txt", "txt"]
    finally:
        segment.write_bytes(whole)
    sink = io.StringIO()
    export.render(result, Console(file=sink, width=300))
    assert storybook.WARC in sink.getvalue()


def test_where_chooses(story: Story, tmp_path: Path) -> None:
    result = export.export(story.home, "jsonl", tmp_path, "url LIKE '%/v' -- the changed one")
    assert (result["rows"], result["where"]) == (1, "url LIKE '%/v' -- the changed one")
    line = json.loads((tmp_path / "examples-000000.jsonl").read_text())
    assert line["example_id"] == story.examples["new"]["example_id"]
    other = "document_id IN (SELECT subject_id FROM annotations)"
    assert export.export(story.home, "jsonl", tmp_path / "joined", other)["rows"] == 1


@pytest.mark.parametrize("where", ["nope = 1", "1 =", "1); DROP VIEW examples; SELECT (1", "url = 3"])
def test_a_wrong_condition_is_one_clear_line_and_writes_nothing(story: Story, where: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--where .*: sql: ") as caught:
        export.export(story.home, "jsonl", tmp_path / "out", where)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path / "out") == {}


def test_a_folder_that_is_not_empty_is_refused(story: Story, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="the folder is not empty"):
        export.export(story.home, "parquet", tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"precious"}
    with pytest.raises(InputError, match="cannot be created"):
        export.export(story.home, "parquet", tmp_path / "mine.txt")


def test_an_output_that_cannot_be_written_is_one_clear_line(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device"):
        export.export(story.home, "jsonl", tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_empty_home_exports_one_empty_file(file_format: Any, tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path / "home")) as home:
        result = export.export(home, file_format, tmp_path / "out")
    data = [item for item in result["files"] if item["name"].startswith(("examples-", "data/"))]
    assert (result["rows"], len(data), result["licences"]) == (0, 1, {})


def test_heavy_media_are_spread_over_files(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = export.current_examples(story.home)
    shown = [any(item["kind"] == "image" for item in segments) for segments in rows["segments"].to_pylist()]
    assert any(shown), "there is no picture to weigh"
    texts = sum(len(text.encode()) for text in rows["text"].to_pylist())
    monkeypatch.setattr(export, "FILE_BYTES", texts + len(PICTURE) - 1)
    counts = {}
    for file_format in ("parquet", "webdataset"):
        told = export.export(story.home, file_format, tmp_path / file_format)
        counts[file_format] = [file["rows"] for file in told["files"] if file["rows"]]
    assert counts == {"parquet": [2], "webdataset": [1, 1]}


def test_many_rows_are_cut_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.FILE_ROWS, "jsonl", 4)
    monkeypatch.setattr(export, "FETCH_ROWS", 3)
    with Home.open(CatalogSettings(root=tmp_path / "home")) as home:
        crawl = storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("a", "A")]}), num_in=1)
        made = [storybook.document(str(k), "A", str(k)) for k in range(10)]
        extract = storybook.put(home, "extract", storybook.Made({"documents": made}), [crawl], 1)
        fused = [storybook.example(item, extract) for item in made]
        storybook.put(home, "fuse", storybook.Made({"examples": fused}), [extract], 10)
        result = export.export(home, "jsonl", tmp_path / "out")
        data = [item for item in result["files"] if item["name"].startswith("examples-")]
        assert [item["rows"] for item in data] == [4, 4, 2]
        lines = [line for item in data for line in (tmp_path / "out" / item["name"]).read_text().splitlines()]
        assert [json.loads(line)["example_id"] for line in lines] == sorted(item["example_id"] for item in fused)
        assert isinstance(export.current_examples(home), pa.Table)
    shutil.rmtree(tmp_path / "out")
