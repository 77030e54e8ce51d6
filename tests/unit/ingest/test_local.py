"""Local folders and WARC files come in through the same segments as the web."""

import gzip
import io
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter
from website import PNG, Crawler

from catalog.warc import read_payload
from ingest import local
from ingest.sources import Item, read_file


@pytest.fixture
def crawler(tmp_path: Path) -> Crawler:
    return Crawler(tmp_path / "home")


def test_a_folder_is_taken_in_once_and_changed_files_again(tmp_path: Path, crawler: Crawler) -> None:
    folder = tmp_path / "docs"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config.txt").write_text("hidden")
    (folder / "a b.html").write_text("<p>one")
    (folder / "note.md").write_text("# two")
    (folder / "pic.png").write_bytes(PNG)
    (folder / "tool.exe").write_bytes(b"MZ")
    report = crawler.run(str(folder))
    pages = crawler.pages()
    types = {url.rpartition("/")[2]: row["content_type"] for url, row in pages.items()}
    assert types == {"a%20b.html": "text/html", "note.md": "text/markdown", "pic.png": "image/png"}
    assert [reason for reason, _ in crawler.rejects().values()] == ["wrong_type"]
    assert (report.num_in, report.num_processed, report.num_rejected) == (4, 3, 1)
    assert crawler.run(str(folder)).batches == 0
    (folder / "tool.exe").unlink()
    assert crawler.run(str(folder)).notes == ["0 fetched, 0 unchanged"]  # not that no source could be reached
    (folder / "note.md").write_text("# two, revised")
    assert crawler.run(str(folder)).outputs == {"pages": 1}


def test_max_pages_takes_so_many_new_files_of_a_folder_in_a_run(tmp_path: Path, crawler: Crawler) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number}")
    source = {"url": str(folder), "max_pages": 2}
    held = []
    for _ in range(4):
        crawler.run(source)
        held.append(len(crawler.pages()))
    assert held == [2, 4, 5, 5]


def test_a_file_that_is_refused_is_read_again_only_when_it_or_the_limit_has_changed(
    tmp_path: Path, crawler: Crawler, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, corrupt = tmp_path / "docs" / "large.txt", tmp_path / "docs" / "corrupt.html"
    large.parent.mkdir()
    large.write_text("long " * 100)
    corrupt.write_bytes(b"\x1f\x8b no gzip")
    read: list[str] = []

    def noted(file: Path, max_bytes: int) -> Item:
        read.append(file.name)
        return read_file(file, max_bytes)

    monkeypatch.setattr(local, "read_file", noted)
    crawler.network["max_bytes"] = 400
    crawler.run(str(large.parent))
    assert sorted(reason for reason, _ in crawler.rejects().values()) == ["corrupt", "too_large"]
    crawler.run(str(large.parent))
    assert read == ["corrupt.html", "large.txt"]
    corrupt.write_text("<p>whole again")
    crawler.run(str(large.parent))
    assert read[2:] == ["corrupt.html"]
    crawler.network["max_bytes"] = 1000
    crawler.run(str(large.parent))
    assert read[3:] == ["large.txt"]
    assert len(crawler.pages()) == 2


def test_sources_that_overlap_bring_a_file_once(tmp_path: Path, crawler: Crawler) -> None:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "sub" / "a.txt").write_text("one")
    crawler.run(str(tmp_path / "docs"), str(tmp_path / "docs" / "sub"))
    assert len(crawler.pages()) == 1


def test_a_missing_folder_is_one_reject_and_others_go_on(tmp_path: Path, crawler: Crawler) -> None:
    (tmp_path / "here.txt").write_text("text")
    crawler.run(str(tmp_path / "nowhere"), str(tmp_path / "here.txt"))
    assert [reason for reason, _ in crawler.rejects().values()] == ["unreachable"]
    assert len(crawler.pages()) == 1


def write_warc(path: Path, extra: int = 0) -> None:
    """A file as other programs write it: requests, encodings, redirects, and two captures of one URL."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")

        def response(url: str, status: str, body: bytes, date: str, **headers: str) -> None:
            given = [(name.replace("_", "-"), value) for name, value in headers.items()]
            record = writer.create_warc_record(
                url,
                "response",
                payload=io.BytesIO(body),
                length=len(body),
                http_headers=StatusAndHeaders(status, given, protocol="HTTP/1.1"),
                warc_headers_dict={"WARC-Date": date},
            )
            writer.write_record(record)

        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "other"}))
        response("http://a/1", "200 OK", b"<p>old", "2020-01-01T00:00:00Z", Content_Type="text/html")
        response("http://a/1", "200 OK", b"<p>new", "2021-01-01T00:00:00Z", Content_Type="text/html")
        packed = {"Content_Type": "text/html", "Content_Encoding": "gzip", "X_Robots_Tag": "noai"}
        response("http://a/2", "200 OK", gzip.compress(b"<p>packed"), "2021-01-01T00:00:00Z", **packed)
        response("http://a/3", "301 Moved", b"", "2021-01-01T00:00:00Z", Location="http://a/4")
        response("http://a/5", "404 Not Found", b"", "2021-01-01T00:00:00Z")
        response("http://a/6", "200 OK", b"%PDF", "2021-01-01T00:00:00Z", Content_Type="application/zip")
        for number in range(extra):
            response(f"http://a/x{number}", "200 OK", b"more", "2021-01-01T00:00:00Z", Content_Type="text/plain")
        text = b"extracted"
        wet = {"payload": io.BytesIO(text), "length": len(text), "warc_content_type": "text/plain"}
        writer.write_record(writer.create_warc_record("http://a/wet", "conversion", **wet))


@pytest.mark.parametrize("name", ["crawl.warc.gz", "crawl.warc"])
def test_a_foreign_warc_is_the_same_kind_of_input(tmp_path: Path, crawler: Crawler, name: str) -> None:
    write_warc(tmp_path / name)
    crawler.run(str(tmp_path / name))
    rows = crawler.table("pages").sort_by("fetched_at").to_pylist()
    assert sorted(row["url"] for row in rows) == ["http://a/1", "http://a/1", "http://a/2", "http://a/wet"]
    assert rows[0]["fetched_at"].year == 2020
    packed = next(row for row in rows if row["url"] == "http://a/2")
    assert packed["rights"] == '[{"by":"x-robots-tag","says":"noai"}]'
    locator = (packed["warc_path"], packed["warc_offset"], packed["warc_length"])
    assert read_payload(crawler.home().warehouse, *locator, max_bytes=100) == b"<p>packed"
    assert {url: reason for url, (reason, _) in crawler.rejects().items()} == {
        "http://a/3": "redirected", "http://a/5": "not_found", "http://a/6": "wrong_type",
    }  # fmt: skip
    assert crawler.run(str(tmp_path / name)).batches == 0
    assert crawler.home().view().read("pages").num_rows == 4


def test_a_page_of_an_archive_that_cannot_be_parsed_in_time_costs_itself(tmp_path: Path, crawler: Crawler) -> None:
    with (tmp_path / "a.warc").open("wb") as file:
        writer = WARCWriter(file, gzip=False)
        for name, body in (("hostile", b"<div>" * 400_000), ("large", b"<p>words</p>" * 10_000), ("small", b"<p>one")):
            status = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            given = {"payload": io.BytesIO(body), "length": len(body), "http_headers": status}
            writer.write_record(writer.create_warc_record(f"http://a/{name}", "response", **given))
    crawler.network["max_parse_seconds"] = 1
    crawler.run(str(tmp_path / "a.warc"))
    rejected = {"http://a/hostile": ("extractor_failed", "reading its rights: no result after 1 seconds")}
    assert crawler.rejects() == rejected
    assert set(crawler.pages()) == {"http://a/large", "http://a/small"}
    assert crawler.run(str(tmp_path / "a.warc")).batches == 0


def test_a_damaged_warc_gives_what_is_whole_and_one_reject(tmp_path: Path, crawler: Crawler) -> None:
    path = tmp_path / "a.warc.gz"
    write_warc(path, extra=5)
    content = path.read_bytes()
    path.write_bytes(content[:600] + b"\xff" * 40 + content[640:])
    crawler.run(str(path))
    assert "corrupt" in {reason for reason, _ in crawler.rejects().values()}
    assert crawler.pages()


def test_a_lost_frontier_is_filled_from_the_tables(tmp_path: Path, crawler: Crawler) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    crawler.run(str(folder))
    for file in crawler.root.glob("frontier.db*"):
        file.unlink()
    assert crawler.run(str(folder)).batches == 0
