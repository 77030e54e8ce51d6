"""Archives as other programs write and damage them: what is whole comes in, what is not is named."""

import base64
import gzip
import hashlib
import io
from pathlib import Path

import pytest
from warcio.warcwriter import WARCWriter

from catalog.errors import ConfigError
from catalog.schema import Reason
from ingest.archives import find_archives, read_archive
from ingest.fetch import Failure, Response
from ingest.inputs import File, find_files
from ingest.settings import NetworkSettings
from ingest.source_settings import Source
from ingest.sources import Item

NETWORK = NetworkSettings()


def record(url: str, block: bytes, kind: str = "response", **headers: str) -> bytes:
    """One record, plain; header names have _ for -."""
    content_type = "application/http; msgtype=response" if kind == "response" else "text/plain"
    lines = [f"WARC-Type: {kind}", f"WARC-Target-URI: {url}", "WARC-Date: 2020-01-01T00:00:00Z"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Type: {content_type}"] if "Content_Type" not in headers else []
    head = "\r\n".join(["WARC/1.1", *lines, f"Content-Length: {len(block)}"]).encode()
    return head + b"\r\n\r\n" + block + b"\r\n\r\n"


def http(body: bytes, headers: str = "", content_type: str = "text/html") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}\r\n".encode() + body


def read(path: Path, first: int = 0, verify: bool = True) -> list[Item]:
    return list(read_archive(File(str(path), ""), first, NETWORK, verify))


def write(path: Path, *records: bytes) -> list[int]:
    """Write records, one gzip member each, and return their offsets."""
    members = [gzip.compress(one) if path.suffix == ".gz" else one for one in records]
    path.write_bytes(b"".join(members))
    return [sum(map(len, members[:number])) for number in range(len(members))]


def bodies(items: list[Item]) -> dict[str, bytes | Reason]:
    found = {}
    for item in items:
        assert item.content is not None
        found[item.url] = item.content.body if isinstance(item.content, Response) else item.content.reason
    return found


def sha1(content: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(content).digest()).decode()


def test_digests_are_verified_in_every_common_spelling(tmp_path: Path) -> None:
    block = http(b"<p>whole")
    sha256 = hashlib.sha256(block).digest()
    spellings = [
        sha1(block), sha1(block).lower(), f"sha256:{sha256.hex()}", f"SHA-256:{base64.b32encode(sha256).decode()}",
        f"md5:{hashlib.md5(block).hexdigest()}", "blake9:nobody-knows",
    ]  # fmt: skip
    good = [record(f"http://e.org/{n}", block, WARC_Block_Digest=value) for n, value in enumerate(spellings)]
    wrong = [sha1(b"else"), "sha1:", "sha1:!!!", f"sha256:{'0' * 64}", sha1(block)[:-1] + "?"]
    bad = [record(f"http://e.org/bad{n}", block, WARC_Block_Digest=value) for n, value in enumerate(wrong)]
    write(tmp_path / "a.warc.gz", *good, *bad)
    found = bodies(read(tmp_path / "a.warc.gz"))
    assert [found[f"http://e.org/{n}"] for n in range(len(spellings))] == [b"<p>whole"] * len(spellings)
    assert [found[f"http://e.org/bad{n}"] for n in range(len(wrong))] == [Reason.CORRUPT] * len(wrong)
    assert set(bodies(read(tmp_path / "a.warc.gz", verify=False)).values()) == {b"<p>whole"}


def test_a_payload_digest_may_cover_the_body_packed_chunked_or_plain(tmp_path: Path) -> None:
    packed = gzip.compress(b"<p>text")
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
    block = http(chunked, "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")
    digests = {"plain": b"<p>text", "packed": packed, "chunked": chunked, "wrong": b"<p>else"}
    records = [record(f"http://e.org/{n}", block, WARC_Payload_Digest=sha1(one)) for n, one in digests.items()]
    cut = record("http://e.org/cut", http(b"<p>te"), WARC_Payload_Digest=sha1(b"<p>text"), WARC_Truncated="length")
    write(tmp_path / "a.warc", *records, cut)
    text = b"<p>text"
    assert bodies(read(tmp_path / "a.warc")) == {
        "http://e.org/plain": text, "http://e.org/packed": text, "http://e.org/chunked": text,
        "http://e.org/wrong": Reason.CORRUPT, "http://e.org/cut": b"<p>te",
    }  # fmt: skip


def test_bodies_that_were_stored_decoded_under_their_old_headers_are_read(tmp_path: Path) -> None:
    brotli_named = http(b"\n<p>plain", "Content-Encoding: br\r\n")
    write(tmp_path / "a.warc.gz", record("http://e.org/a", brotli_named))
    assert bodies(read(tmp_path / "a.warc.gz")) == {"http://e.org/a": b"\n<p>plain"}


def test_records_that_bring_no_page_are_named_or_passed_over(tmp_path: Path) -> None:
    write(
        tmp_path / "a.warc.gz",
        record("dns:e.org", b"20200101000000\ne.org. 1 IN A 1.2.3.4", "response", Content_Type="text/dns"),
        record("http://e.org/", b"GET / HTTP/1.1\r\n\r\n", "request"),
        record("ftp://e.org/a", b"text", "resource"),
        record("http://e.org/again", http(b""), "revisit", WARC_Refers_To_Date="2019-01-01T00:00:00Z"),
        record("http://e.org/part", b"x", "continuation", WARC_Segment_Number="2"),
        record("http://e.org/no-http", b"\x00\x01"),
        record("http://e.org/wet", b"extracted", "conversion"),
        record("http://e.org/pdf", http(b"%PDF-1.7", content_type="application/pdf")),
    )
    assert bodies(read(tmp_path / "a.warc.gz")) == {
        "ftp://e.org/a": Reason.BAD_URL, "http://e.org/again": Reason.MISSING_PAYLOAD,
        "http://e.org/part": Reason.BAD_RESPONSE, "http://e.org/no-http": Reason.BAD_RESPONSE,
        "http://e.org/wet": b"extracted", "http://e.org/pdf": b"%PDF-1.7",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc"])
def test_reading_goes_on_from_any_record_by_its_offset(tmp_path: Path, name: str) -> None:
    records = [record(f"http://e.org/{n}", http(b"<p>%d" % n)) for n in range(5)]
    offsets = write(tmp_path / name, *records)
    everything = read(tmp_path / name)
    assert [item.index for item in everything] == offsets
    for done in range(5):
        left = read(tmp_path / name, offsets[done] + 1)
        assert [item.url for item in left] == [item.url for item in everything[done + 1 :]]


def test_an_archive_packed_as_one_stream_is_read_again_from_its_start(tmp_path: Path) -> None:
    plain = b"".join(record(f"http://e.org/{n}", http(b"<p>%d" % n)) for n in range(3))
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(plain))
    assert len(read(tmp_path / "a.warc.gz")) == len(read(tmp_path / "a.warc.gz", first=50)) == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "tail"])
def test_a_damaged_member_costs_itself_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.warc.gz"
    noise = bytes(range(256)) * 20
    offsets = write(path, *(record(f"http://e.org/{n}", http(b"<p>%d" % n + noise)) for n in range(5)))
    content = path.read_bytes()
    start, end = offsets[2], offsets[3]
    member = content[start:end]
    broken = {
        "cut": member[: len(member) // 2], "garbage": b"garbage" * 9, "tail": member,
        "flipped": member[:30] + bytes([member[30] ^ 255]) + member[31:],
    }[damage]  # fmt: skip
    path.write_bytes(content[:start] + broken + (content[end:-9] if damage == "tail" else content[end:]))
    items = read(path)
    whole = {item.url for item in items if isinstance(item.content, Response)}
    lost = {"tail": set()}.get(damage, {"http://e.org/2"})
    assert whole >= {f"http://e.org/{n}" for n in range(5)} - lost - {"http://e.org/4"}
    failures = [item for item in items if isinstance(item.content, Failure)]
    assert damage == "tail" or [item.content.reason for item in failures] == [Reason.CORRUPT]  # type: ignore[union-attr]
    assert damage == "tail" or "http://e.org/4" in whole


def test_records_without_a_readable_date_are_read(tmp_path: Path) -> None:
    block = http(b"<p>x</p>")
    dates = ("", "yesterday", "2020-01-01T00:00:00Z")
    records = [
        record(f"http://e.org/{n}", block).replace(b"2020-01-01T00:00:00Z", d.encode()) for n, d in enumerate(dates)
    ]
    write(tmp_path / "x.warc", *records)
    assert [item.fetched_at for item in read(tmp_path / "x.warc")] == [None, None, 1577836800.0]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("warc.paths", b"a" * 1001, "more than network.max_bytes 1000"),
        ("warc.paths.gz", gzip.compress(b"a" * 10_000_000, mtime=0), "more than network.max_bytes 1000"),
        ("wet.paths.gz", gzip.compress(b"a.warc.gz", mtime=0)[:-9], "not a listing"),
        ("wet.paths", b"\xff\xfe.warc", "not a listing"),
    ],
)
def test_a_listing_that_is_none_or_unpacks_without_end_is_an_error(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    source = Source.model_validate({"url": str(tmp_path / name)})
    with pytest.raises(OSError, match=complaint):
        list(find_archives(source, NetworkSettings.parse({"max_bytes": 1000}, "test")))


def test_a_304_in_an_archive_is_a_record_without_payload(tmp_path: Path) -> None:
    write(tmp_path / "x.warc", record("http://e.org/", http(b"").replace(b"200 OK", b"304 Not Modified")))
    (item,) = read(tmp_path / "x.warc")
    assert item.content == Failure(Reason.MISSING_PAYLOAD, "HTTP 304 (not modified), without payload")


def test_a_listing_names_archives_relative_to_itself_or_to_a_base(tmp_path: Path) -> None:
    folder = tmp_path / "crawl-data"
    folder.mkdir()
    write(folder / "a.warc.gz", record("http://e.org/a", http(b"a")))
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(b"sub/a.warc.gz\nsub/b.warc.gz\n"))
    (tmp_path / "wet.paths").write_text("crawl-data/a.warc.gz\n")

    def found(name: str, **given: str) -> list[str]:
        source = Source.model_validate({"url": str(tmp_path / name), **given})
        assert source.kind == "warc"
        return [file.path for file in find_archives(source, NETWORK)]

    based = found("warc.paths.gz", base="s3://bucket/")
    assert based == ["s3://bucket/sub/a.warc.gz", "s3://bucket/sub/b.warc.gz"]
    assert found("warc.paths.gz") == [], "there are no such files beside it"
    assert found("wet.paths") == ["https://data.commoncrawl.org/crawl-data/a.warc.gz"]
    assert found("wet.paths", base=str(tmp_path)) == [str(folder / "a.warc.gz")]


def test_an_archive_that_cannot_be_opened_is_to_be_tried_again(tmp_path: Path) -> None:
    (item,) = read(tmp_path / "gone.warc.gz")
    assert isinstance(item.content, Failure)
    assert (item.content.reason, item.content.again) == (Reason.UNREACHABLE, True)


def test_archives_are_read_through_any_file_system(tmp_path: Path) -> None:
    import fsspec

    content, plain = io.BytesIO(), {"warc_content_type": "text/plain"}
    writer = WARCWriter(content, gzip=True)
    writer.write_record(
        writer.create_warc_record("http://e.org/a", "conversion", payload=io.BytesIO(b"text"), length=4, **plain)
    )
    memory = fsspec.filesystem("memory")
    memory.pipe("/archives/a.warc.gz", content.getvalue())
    memory.pipe("/archives/readme.txt", b"no archive")
    files = find_files("memory://archives", (".warc",), NETWORK)
    assert [file.path for file in files] == ["memory:///archives/a.warc.gz"]
    (item,) = read_archive(files[0], 0, NETWORK)
    assert isinstance(item.content, Response)
    assert item.content.body == b"text"
    assert files == find_files("memory://archives/*.warc.gz", (), NETWORK)


def test_a_glob_or_scheme_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data_sources: '\*\*\*': Invalid pattern"):
        find_files("***", (".warc",), NETWORK)
    with pytest.raises(ConfigError, match=r"data_sources: 'gopher://x/a.warc': Protocol not known: gopher"):
        find_files("gopher://x/a.warc", (".warc",), NETWORK)
