"""Segments: written, cut by a crash anywhere, sealed, stored, read back as rows."""

import hashlib
import json
import random
import resource
import signal
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.checker import Checker

from catalog.errors import Corrupt, InputError
from catalog.proving import drivers
from catalog.schema import Reason
from catalog.warc import iterate_segment, iterate_stream, read_payload
from ingest.fetch import Failure, Response
from ingest.hints import Hints, Medium
from ingest.members import Origin, reject_member, resource_member, response_member
from ingest.rights import Signal, write
from ingest.segment_rows import segment_tables
from ingest.segments import SegmentWriter, salvage, seal_file, segment_path, store_segment

ORIGIN = Origin("page", "h", "http://h/", "news", 1, "http://h/", "h", 200, robots_rule="no rule matches")
SHA = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of b"foo"
HEADERS = (
    ("Content-Type", "text/html"), ("Content-Encoding", "gzip"), ("Set-Cookie", "id=7"),
    ("X-Bad\r\nInjected", "a\r\nb: c"),
)  # fmt: skip


def members() -> list[bytes]:
    """Three records as a crawl writes them."""
    return [
        response_member(Response("http://h/a", 200, HEADERS, b"foo"), "text/html", SHA, ORIGIN, 1_700_000_000.25),
        resource_member(
            "file:///b.txt", b"foo", "text/plain", SHA, Origin("page", "", "./f", "other", 0, None, ""), 1.0
        ),
        reject_member("http://h/c", Failure(Reason.NOT_FOUND, "HTTP 404 — 没有"), ORIGIN, 2.0),
    ]


def written(folder: Path) -> Path:
    writer = SegmentWriter(folder, "headrace/test")
    for member in members():
        writer.append(member)
    writer.seal()
    return writer.path


def test_rows_are_derived_from_the_segment_alone(tmp_path: Path) -> None:
    staged = written(tmp_path / "crawl")
    path = store_segment(staged, str(tmp_path / "warehouse"), seal_file(staged))
    tables = segment_tables(str(tmp_path / "warehouse"), path)
    pages = {row["url"]: row for row in tables["pages"].to_pylist()}
    page = pages["http://h/a"]
    assert (page["status"], page["source_class"], page["depth"], page["robots_rule"]) == (
        200,
        "news",
        1,
        "no rule matches",
    )
    assert page["fetched_at"].timestamp() == 1_700_000_000.25
    assert pages["file:///b.txt"]["content_type"] == "text/plain"
    for row in pages.values():
        locator = (row["warc_path"], row["warc_offset"], row["warc_length"])
        assert read_payload(str(tmp_path / "warehouse"), *locator, max_bytes=10) == b"foo"
        assert (row["num_bytes"], row["payload_sha256"]) == (3, SHA)
    (refused,) = tables["rejects"].to_pylist()
    assert (refused["url"], refused["reason"], refused["detail"]) == ("http://h/c", "not_found", "HTTP 404 — 没有")


def test_segments_pass_the_checker_and_hostile_headers_stay_in_their_line(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert Checker(type("Arguments", (), {"inputs": [str(path)], "verbose": False})).process_all() == 0
    records = list(iterate_segment("", str(path), {"response": 10_000}))
    block = records[1].block or b""
    assert b"Set-Cookie" not in block
    assert b"\r\nb: c" not in block
    assert b"X-Crawl-Content-Encoding: gzip\r\n" in block
    assert json.loads(records[1].headers["x-headrace"])["sha256"] == SHA


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return written(tmp_path_factory.mktemp("segment")).read_bytes()


@settings(deadline=None)
@given(cut=st.integers(0, 5000), noise=st.binary(max_size=30))
def test_a_crash_anywhere_leaves_the_whole_records_before_it(
    segment: bytes, tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    path = tmp_path_factory.mktemp("crash") / "a.warc.gz"
    path.write_bytes(segment)
    ends = [record.offset + record.length for record in iterate_segment("", str(path))]
    path.write_bytes(segment[: cut % (len(segment) + 1)] + (noise if cut % 2 else b""))
    whole = sum(end <= cut % (len(segment) + 1) for end in ends)
    assert salvage(path) == max(whole - 1, 0)
    assert path.stat().st_size == (ends[whole - 1] if whole else 0)


def test_storing_twice_is_harmless(tmp_path: Path) -> None:
    staged = written(tmp_path / "crawl")
    sha256 = seal_file(staged)
    content = staged.read_bytes()
    assert store_segment(staged, str(tmp_path / "w"), sha256) == segment_path(sha256)
    assert not staged.exists()
    assert store_segment(staged, str(tmp_path / "w"), sha256) == segment_path(sha256)
    assert (tmp_path / "w" / segment_path(sha256)).read_bytes() == content


def test_a_warehouse_elsewhere_gets_a_copy(tmp_path: Path) -> None:
    staged = written(tmp_path / "crawl")
    sha256 = seal_file(staged)
    path = store_segment(staged, "memory://warehouse", sha256)
    assert not staged.exists()
    assert segment_tables("memory://warehouse", path)["pages"].num_rows == 2


def fill_up(folder: Path, limit: int) -> None:
    """Write records in a process whose files may not grow beyond `limit`, and seal what was taken."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    writer = SegmentWriter(folder, "headrace/test")
    with pytest.raises(InputError, match="cannot be written: File too large; make room"):
        for number in range(100):
            body = random.Random(number).randbytes(3000)
            sha256 = hashlib.sha256(body).hexdigest()
            response = Response(f"http://h/{number}", 200, (("Content-Type", "image/png"),), body)
            writer.append(response_member(response, "image/png", sha256, ORIGIN, float(number)))
    assert writer.path.stat().st_size == writer.num_bytes
    (folder / "sealed").write_text(f"{writer.num_records} {writer.seal()}")


def test_a_full_disk_leaves_whole_records_and_says_so(tmp_path: Path) -> None:
    process = drivers.start(fill_up, tmp_path, 20_000)
    assert drivers.finish(process) == 0
    (path,) = tmp_path.glob("*.warc.gz")
    records, sha256 = (tmp_path / "sealed").read_text().split()
    assert 3 <= int(records) <= 6
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert len(list(iterate_segment("", str(path)))) == int(records) + 1
    assert salvage(path) == int(records)
    assert Checker(type("Arguments", (), {"inputs": [str(path)], "verbose": False})).process_all() == 0


def read_back(folder: Path, *given: bytes) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a segment with these members and a sound one at the end."""
    writer = SegmentWriter(folder / "crawl", "headrace/test")
    for member in (*given, members()[0]):
        writer.append(bytearray(member))
    warehouse = str(folder / "warehouse")
    tables = segment_tables(warehouse, store_segment(writer.path, warehouse, writer.seal()))
    return {name: table.to_pylist() for name, table in tables.items()}


def long_hints(captions: int, title: str = "") -> dict[str, Any]:
    media = tuple(Medium(f"http://h/{place}.jpg", "image", "漢" * 500) for place in range(captions))
    return Hints(title=title, media=media).as_dict()


LONG = [
    {"hints": long_hints(50, "漢" * 500)},
    {"licence": "http://h/" + "x" * 70_000},
    {"etag": '"' + "\ufffd" * 12_000 + '"', "last_modified": "x" * 70_000},
    {"attempts": ("漢" * 70_000,) * 100},
    {"referrer": "http://h/" + "x" * 70_000},
    {"rights": write([Signal("link", "licence", url="http://h/" + "x" * 70_000), Signal("meta", "noai")])},
    {"rights": write(Signal("meta", "漢" * 300, f"漢{place}" * 100) for place in range(64))},
]


@pytest.mark.parametrize("given_by_strangers", LONG)
def test_whatever_strangers_say_a_record_can_be_read_again(tmp_path: Path, given_by_strangers: dict[str, Any]) -> None:
    origin = replace(ORIGIN, **given_by_strangers)
    response = Response("http://h/long", 200, HEADERS, b"foo")
    rows = read_back(tmp_path, response_member(response, "text/html", SHA, origin, 1.0))
    assert sorted(row["url"] for row in rows["pages"]) == ["http://h/a", "http://h/long"]
    with next((tmp_path / "warehouse").rglob("*.warc.gz")).open("rb") as file:
        for record in iterate_stream(file, "s"):
            assert len(record.headers.get("x-headrace", "")) <= 32 << 10


def test_a_long_record_keeps_its_rights_and_its_first_pictures(tmp_path: Path) -> None:
    origin = replace(ORIGIN, hints=long_hints(50, "a title"), rights=write([Signal("meta", "noai")]))
    response = Response("http://h/long", 200, HEADERS, b"foo")
    rows = read_back(tmp_path, response_member(response, "text/html", SHA, origin, 1.0))
    (page,) = (row for row in rows["pages"] if row["url"] == "http://h/long")
    assert page["hints"]["title"] == "a title"
    assert len(page["hints"]["media"]) == 50
    assert page["hints"]["media"][0]["alt"] == "漢" * 500
    assert not page["hints"]["media"][-1]["alt"]
    assert "noai" in page["rights"]


def test_a_flood_of_headers_leaves_a_payload_that_can_be_read(tmp_path: Path) -> None:
    flood = (*((f"X-{place}", "x" * 12_000) for place in range(120)), ("Content-Type", "text/html"))
    member = response_member(Response("http://h/f", 200, flood, b"foo"), "text/html", SHA, ORIGIN, 1.0)
    (page,) = (row for row in read_back(tmp_path, member)["pages"] if row["url"] == "http://h/f")
    locator = (page["warc_path"], page["warc_offset"], page["warc_length"])
    assert read_payload(str(tmp_path / "warehouse"), *locator, max_bytes=10) == b"foo"
    assert b"Content-Type: text/html" in zlib.decompress(member, wbits=31)


def test_lone_surrogates_reach_no_table(tmp_path: Path) -> None:
    hints = Hints(title="x\ud800", media=(Medium("http://h/a.jpg", "image", "y\udfff"),)).as_dict()
    raw = replace(ORIGIN, licence="l\ud800", hints={"title": "as older versions wrote it: \ud800"})
    given = (
        resource_member("http://h/1", b"foo", "text/plain", SHA, replace(ORIGIN, hints=hints, rights="\ud800"), 1.0),
        resource_member("http://h/2", b"foo", "text/plain", SHA, raw, 1.0),
        reject_member("http://h/3", Failure(Reason.BAD_ROW, "no \ud800"), ORIGIN, 1.0),
    )
    rows = read_back(tmp_path, *given)
    found = {row["url"]: row for row in rows["pages"]}
    assert found["http://h/1"]["hints"]["title"] == "x?"
    assert found["http://h/2"]["hints"]["title"].endswith("?")
    assert (found["http://h/2"]["licence"], rows["rejects"][0]["detail"]) == ("l?", "no ?")


@pytest.mark.parametrize("hostile", ["f#id=a\r\n\r\nb", "f#id=a\nWARC-Type: x", "f#id=\nContent-Length: 9", "f\n"])
def test_a_record_of_an_older_version_that_cannot_be_read_costs_itself_alone(tmp_path: Path, hostile: str) -> None:
    first, last = members()[1], resource_member("http://h/z", b"foo", "text/plain", SHA, ORIGIN, 1.0)
    broken = resource_member(f"file:///{hostile}", b"foo", "text/plain", SHA, ORIGIN, 1.0)
    rows = read_back(tmp_path, first, broken, last)
    urls = {row["url"] for row in rows["pages"]}
    assert {"file:///b.txt", "http://h/z", "http://h/a"} <= urls
    assert [row["reason"] for row in rows["rejects"]] in ([], ["corrupt"])
    if "\r\n\r\n" in hostile:
        assert len(urls) == 3
        assert len(rows["rejects"]) == 1


def test_damage_of_the_file_itself_is_not_taken_for_a_bad_record(tmp_path: Path) -> None:
    staged = written(tmp_path)
    content = bytearray(staged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    staged.write_bytes(content)
    with pytest.raises(Corrupt):
        list(segment_tables("", str(staged)))
