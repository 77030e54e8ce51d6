"""The extract stage in a real home: a folder crawled, extracted once, and again only when its settings change."""

from collections import Counter
from pathlib import Path

import pytest

from catalog.home import Home
from catalog.settings import Config
from ingest.job import CRAWL, EXTRACT

PARAGRAPH = "The river number {} rises in the hills, and it flows through three towns before it reaches the sea."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "material"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.html").write_text(
            f"<!doctype html><html><head><title>{number}</title></head><body><p>{PARAGRAPH.format(number)}</p>"
            f'<img src="{number}.png"></body></html>'
        )
        header = "89504e470d0a1a0a0000000d4948445200000001000000010802000000"
        (folder / f"{number}.png").write_bytes(bytes.fromhex(header) + bytes([number]))
    (folder / "notes.md").write_text("# Notes\n\nSome notes about the rivers of the hills.")
    (folder / "empty.html").write_text("<html><body></body></html>")
    return folder


def config(tmp_path: Path, folder: Path, **more: object) -> Config:
    return Config({"root": str(tmp_path / "home"), "engine": "local", "data_sources": [str(folder)], **more})


def test_every_page_ends_as_a_document_a_media_row_or_a_reject(tmp_path: Path, folder: Path) -> None:
    settings = config(tmp_path, folder)
    home = Home.open(settings.catalog)
    CRAWL.run(home, settings)
    report = EXTRACT.run(home, settings)
    assert (report.num_in, report.num_processed, report.num_rejected) == (10, 9, 1)
    view = home.view()
    documents, media = view.read("documents").to_pylist(), view.read("media").to_pylist()
    assert Counter(row["kind"] for row in media) == {"image": 4}
    assert {row["title"] for row in documents} == {"0", "1", "2", "3", "Notes"}
    known = {row["url"] for row in media}
    assert all(reference["url"] in known for row in documents for reference in row["media"])
    assert sum(len(row["media"]) for row in documents) == 4
    assert [row["reason"] for row in view.read("rejects").to_pylist()] == ["empty_text"]
    assert EXTRACT.run(home, settings).batches == 0


def test_changed_rules_extract_again_without_crawling_and_changed_back_need_nothing(
    tmp_path: Path, folder: Path
) -> None:
    settings = config(tmp_path, folder)
    home = Home.open(settings.catalog)
    CRAWL.run(home, settings)
    EXTRACT.run(home, settings)
    stricter = config(tmp_path, folder, extract={"min_chars": 60})
    assert EXTRACT.run(home, stricter).rejects == {"too_short": 1, "empty_text": 1}
    assert home.view().read("documents").num_rows == 4
    assert EXTRACT.run(home, settings).batches == 0
    assert home.view().read("documents").num_rows == 5
