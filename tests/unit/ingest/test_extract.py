"""The extract batch: in = documents + media + rejects, whatever comes in."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from catalog.errors import Corrupt
from catalog.ids import page_id
from catalog.schema import body
from ingest.document import read_document
from ingest.extract import extract_batch, guarded_parser
from ingest.settings import CleaningRules, ExtractSettings

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de")
ARTICLE = (
    b"<!doctype html><html><body><p>The river rises in the hills, and it flows to the sea at last.</p></body></html>"
)


def pages(*rows: Mapping[str, Any]) -> pa.Table:
    full = []
    for number, row in enumerate(rows):
        digest = hashlib.sha256(row.get("payload", b"")).hexdigest()
        url = row.get("url", f"https://e.org/{number}")
        full.append(
            {"page_id": page_id(url, digest), "url": url, "payload_sha256": digest, "warc_path": str(number),
             "content_type": "text/html", "fetched_at": datetime(2026, 1, 1 + number, tzinfo=UTC)} | dict(row)
        )  # fmt: skip
    known = {row["page_id"]: row.get("payload", b"") for row in full}
    table = pa.Table.from_pylist(full, schema=body("pages"))
    return table, lambda row: known[row["page_id"]]


def run(table: pa.Table, read: Any) -> dict[str, list[dict[str, Any]]]:
    tables = extract_batch(table, read, partial(read_document, rules=CleaningRules(), wanted=ExtractSettings()))
    for name, rows in tables.items():
        assert rows.schema == body(name)
    return {name: rows.to_pylist() for name, rows in tables.items()}


def test_opt_outs_count_unless_told_otherwise() -> None:
    table, read = pages(
        {"payload": ARTICLE, "rights": "noai, noindex"},
        {"payload": ARTICLE + b" ", "rights": "noindex"},
        {"payload": ARTICLE + b"  ", "rights": "tdm-reservation=1"},
        {"payload": ARTICLE + b"   ", "rights": "noimageai, tdm-reservation=0"},
        {"payload": PNG, "rights": "noimageai"},
    )
    found = run(table, read)
    assert {(row["url"][-1], row["reason"]) for row in found["rejects"]} == {
        ("0", "noai"),
        ("2", "noai"),
        ("4", "noai"),
    }
    assert "its owner says noai" in {row["detail"].partition(";")[0] for row in found["rejects"]}
    parse = partial(read_document, rules=CleaningRules(), wanted=ExtractSettings())
    everything = extract_batch(table, read, parse, opt_outs=())
    assert (everything["documents"].num_rows, everything["media"].num_rows) == (4, 1)


def test_every_page_gives_one_row() -> None:
    found = run(
        *pages(
            {"payload": ARTICLE},
            {"payload": PNG, "content_type": "text/html", "licence": "https://l.org/by"},
            {"payload": b"PK\x03\x04rest", "content_type": "application/zip"},
            {"payload": b""},
            {"payload": b"x", "warc_path": None, "reason": "timeout"},
            {"payload": b"<!doctype html><html><body></body></html>"},
        )
    )
    assert [row["url"] for row in found["documents"]] == ["https://e.org/0"]
    media = found["media"][0]
    assert (media["kind"], media["content_type"], media["num_bytes"]) == ("image", "image/png", len(PNG))
    assert (media["media_id"], media["licence"]) == (hashlib.sha256(PNG).hexdigest(), "https://l.org/by")
    assert [(row["url"][-1], row["reason"]) for row in found["rejects"]] == [
        ("2", "wrong_type"), ("3", "empty_text"), ("4", "missing_payload"), ("5", "empty_text"),
    ]  # fmt: skip
    assert found["rejects"][0]["detail"] == "application/octet-stream (declared: application/zip)"


def test_a_corrupt_payload_costs_only_its_row() -> None:
    table, read = pages({"payload": ARTICLE}, {"payload": b"gone"})

    def broken(row: Mapping[str, Any]) -> bytes:
        if row["url"].endswith("1"):
            raise Corrupt("segment x at 7: no WARC record")
        return read(row)

    found = run(table, broken)
    assert len(found["documents"]) == 1
    assert (found["rejects"][0]["reason"], found["rejects"][0]["detail"]) == (
        "missing_payload",
        "segment x at 7: no WARC record",
    )


def test_one_url_twice_with_the_same_text_is_one_document_of_the_later_fetch() -> None:
    same = {"url": "https://e.org/same"}
    later = ARTICLE.replace(b"</body>", b"<!-- changed --></body>")
    for first, second in ((ARTICLE, later), (later, ARTICLE)):
        found = run(*pages(same | {"payload": first}, same | {"payload": second}))
        assert [row["fetched_at"].day for row in found["documents"]] == [2]


def test_one_picture_under_two_urls_is_two_rows_of_one_id() -> None:
    found = run(*pages({"payload": PNG}, {"payload": PNG}))
    assert len({row["media_id"] for row in found["media"]}) == 1
    assert len({row["url"] for row in found["media"]}) == 2


def test_the_order_of_rows_changes_no_row() -> None:
    table, read = pages(*({"payload": ARTICLE.replace(b"hills", b"hills %d" % n)} for n in range(5)))
    forward, backward = run(table, read), run(table.take(list(range(4, -1, -1))), read)
    key = lambda row: row["document_id"]  # noqa: E731
    assert sorted(forward["documents"], key=key) == sorted(backward["documents"], key=key)


def test_a_page_over_its_time_is_a_reject_and_the_batch_goes_on() -> None:
    table, read = pages({"payload": ARTICLE}, {"payload": PNG})
    wanted = ExtractSettings(max_seconds=1e-6)
    tables = extract_batch(table, read, guarded_parser(CleaningRules(), wanted))
    assert tables["rejects"].to_pylist()[0]["reason"] == "extractor_failed"
    assert tables["rejects"].to_pylist()[0]["detail"] == "no result after 1e-06 seconds"
    assert tables["media"].num_rows == 1


ATTRIBUTES = b"<p " + b" ".join(b"a%d=1" % number for number in range(600_000)) + b">never read</p>"
BREAKS = b"<p>" + b"word<br>" * 190_000


@pytest.mark.parametrize(
    ("hostile", "limits"),
    [(ATTRIBUTES, {"max_seconds": 4}), (BREAKS, {"max_memory": 510_000_000})],
    ids=["hangs", "eats memory"],
)
def test_a_page_that_does_not_end_costs_none_of_its_neighbours(hostile: bytes, limits: dict[str, int]) -> None:
    deep = ARTICLE + b"<div>" * 100_000
    neighbours = [ARTICLE.replace(b"hills", b"hills %d" % number) for number in range(2)]
    payloads = (neighbours[0], b"<!doctype html>" + hostile, deep, neighbours[1])
    table, read = pages(*({"payload": payload} for payload in payloads))
    tables = extract_batch(table, read, guarded_parser(CleaningRules(), ExtractSettings(**limits)))
    assert [(row["url"][-1], row["reason"]) for row in tables["rejects"].to_pylist()] == [("1", "extractor_failed")]
    assert [row["url"][-1] for row in tables["documents"].to_pylist()] == ["0", "2", "3"]
