"""The examples of docs/sources.md load as they stand; those over local files bring what the page says."""

import gzip
import json
import re
from pathlib import Path

import pytest
import yaml
from website import PNG, Crawler

from ingest.settings import IngestSettings

TEXT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def test_every_example_is_a_configuration_and_every_kind_is_explained() -> None:
    kinds = [source.kind for given in EXAMPLES for source in IngestSettings.parse(given, "sources.md").data_sources]
    assert kinds == ["sitemap", "feed", "warc", "warc", "folder", "table"]
    for kind in ("site", "page", *kinds):
        assert f"| `{kind}` |" in TEXT


def test_the_examples_over_local_files_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recordings").mkdir()
    Path("recordings", "note.html.gz").write_bytes(gzip.compress(b"<p>a note"))
    Path("recordings", "paper.pdf").write_bytes(b"%PDF-1.7")
    Path("recordings", "rows.csv").write_text("a,b\n")
    Path("photo.png").write_bytes(PNG)
    Path("rows.jsonl").write_text(json.dumps({"body": "a row", "photo": "photo.png"}) + "\nnot JSON\n")
    crawler = Crawler(tmp_path / "home")
    local = [source for given in EXAMPLES[-2:] for source in given["data_sources"]]
    crawler.run(*local)
    types = {url.rpartition("/")[2]: row["content_type"] for url, row in crawler.pages().items()}
    assert types == {
        "note.html.gz": "text/html", "paper.pdf": "application/pdf", "rows.jsonl#row=1": "text/plain",
        "photo.png": "image/png",
    }  # fmt: skip
    details = dict(crawler.rejects().values())
    assert details["wrong_type"].endswith("recordings/rows.csv: add it to data_sources as a source of kind 'table'")
    assert details["bad_row"].startswith(f"{tmp_path}/rows.jsonl: row 2: ")
