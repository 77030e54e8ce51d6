"""Payloads by locator, and segments record by record, from files of other programs too."""

import gzip
import io
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from catalog.errors import Corrupt
from catalog.warc import iterate_segment, parse_http, read_payload

NOTE = b'{"reason": "x"}'
TEXT = b"a page of some length, repeated. " * 40


def write(path: Path, gzipped: bool = True) -> None:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=gzipped)
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "test"}))
        for name, headers, body in (
            ("plain", [], TEXT),
            ("packed", [("Content-Encoding", "gzip")], gzip.compress(TEXT)),
            ("chunked", [("Transfer-Encoding", "chunked")], b"21\r\n" + TEXT[:33] + b"\r\n0\r\n\r\n"),
            ("short", [("Content-Length", "9999")], TEXT),
        ):
            http = StatusAndHeaders("200 OK", [("Content-Type", "text/html"), *headers], protocol="HTTP/1.1")
            given = {"payload": io.BytesIO(body), "length": len(body), "http_headers": http}
            writer.write_record(writer.create_warc_record(f"http://h/{name}", "response", **given))
        note = {"payload": io.BytesIO(NOTE), "length": len(NOTE)}
        writer.write_record(writer.create_warc_record("http://h/no", "metadata", **note))


@pytest.mark.parametrize("gzipped", [True, False])
def test_payloads_are_read_by_the_locators_that_iterating_gives(tmp_path: Path, gzipped: bool) -> None:
    write(tmp_path / "a.warc", gzipped)
    records = list(iterate_segment(str(tmp_path), "a.warc", {"metadata": 1000}))
    assert [record.kind for record in records] == ["warcinfo", *["response"] * 4, "metadata"]
    assert records[-1].block == NOTE
    assert records[1].block is None
    ends = [record.offset + record.length for record in records]
    assert [record.offset for record in records[1:]] == ends[:-1]
    assert ends[-1] == (tmp_path / "a.warc").stat().st_size

    def payload(index: int, max_bytes: int = 10**6) -> bytes:
        return read_payload(str(tmp_path), "a.warc", records[index].offset, records[index].length, max_bytes)

    assert payload(1) == payload(2) == TEXT
    assert payload(3) == TEXT[:33]
    assert payload(5) == NOTE
    with pytest.raises(Corrupt, match="instead of 9999"):
        payload(4)
    with pytest.raises(Corrupt, match="longer than 100 bytes"):
        payload(2, max_bytes=100)


def test_a_wrong_locator_or_a_lost_file_is_corrupt(tmp_path: Path) -> None:
    write(tmp_path / "a.warc.gz")
    record = list(iterate_segment(str(tmp_path), "a.warc.gz"))[1]
    size = (tmp_path / "a.warc.gz").stat().st_size
    for offset, length in ((record.offset + 2, record.length), (size, 10), (record.offset, size)):
        with pytest.raises(Corrupt):
            read_payload(str(tmp_path), "a.warc.gz", offset, length, 10**6)
    with pytest.raises(Corrupt, match="gone from the warehouse"):
        read_payload(str(tmp_path), "b.warc.gz", 0, 10, 10**6)


@cache
def sample() -> tuple[bytes, int, int]:
    """One segment's bytes, and where the member of its first response lies."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "a.warc.gz")
        record = list(iterate_segment(folder, "a.warc.gz"))[1]
        return (Path(folder) / "a.warc.gz").read_bytes(), record.offset, record.length


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_member_never_gives_a_wrong_payload(place: int, change: int) -> None:
    content, offset, length = sample()
    damaged = bytearray(content)
    damaged[offset + place % length] ^= change
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.warc.gz").write_bytes(damaged)
        try:
            found = read_payload(folder, "a.warc.gz", offset, length, 10**6)
        except Corrupt:
            return
        assert found == TEXT


def test_http_messages_are_parsed_or_refused() -> None:
    message = parse_http(b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody")
    assert (message.status, message.get("x-a"), message.body) == (404, "1", b"body")
    for block in (b"", b"garbage", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        with pytest.raises(Corrupt):
            parse_http(block)
