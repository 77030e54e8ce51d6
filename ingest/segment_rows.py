"""What a sealed segment says, as rows of the crawl's tables."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import ids
from catalog.errors import Corrupt
from catalog.schema import Reason, body, rejects
from catalog.warc import Record, iterate_segment, iterate_stream, open_warehouse
from ingest.hints import encodable
from ingest.members import MAX_TEXT, META
from ingest.segments import member_ends

log = logging.getLogger("headrace")
Lost: TypeAlias = tuple[int, str]  # where a record lies that cannot be read, and why not
METADATA = {"metadata": 1 << 20}


def segment_tables(warehouse: str, path: str) -> dict[str, pa.Table]:
    """Derive the crawl's rows from one sealed segment and from nothing else: `pages` and `rejects`."""
    pages: list[dict[str, object]] = []
    refused: list[dict[str, str | None]] = []
    lost: list[Lost] = []
    for record, meta in crawl_records(warehouse, path, lost):
        if record.kind == "metadata":
            reason, detail = reason_of(record)
            record_id = ids.page_id(record.url, "")
            if attempts := meta.get("attempts"):
                detail = f"{detail}; before that: {'; '.join(attempts)}"
            refused.append({"record_id": record_id, "url": record.url, "reason": reason, "detail": detail})
        else:
            pages.append(_page(record, meta, path))
    for offset, detail in lost:
        url = f"{path}#offset={offset}"
        refused.append({"record_id": ids.page_id(url, ""), "url": url, "reason": Reason.CORRUPT, "detail": detail})
    refused.sort(key=lambda row: (str(row["record_id"]), str(row["reason"])))
    pages.sort(key=lambda row: (str(row["page_id"]), str(row["fetched_at"])))
    return {"pages": pa.Table.from_pylist(pages, schema=body("pages")), "rejects": rejects("crawl", refused)}


def _page(record: Record, meta: Mapping[str, Any], path: str) -> dict[str, object]:
    return {
        "page_id": ids.page_id(record.url, meta["sha256"]),
        "url": record.url,
        "source": meta["source"],
        "source_class": meta["source_class"],
        "depth": meta["depth"],
        "referrer": meta.get("referrer"),
        "fetched_at": record.date,
        "status": meta.get("status", 200),
        "reason": None,
        "content_type": meta["type"],
        "num_bytes": meta["bytes"],
        "payload_sha256": meta["sha256"],
        "robots_rule": meta.get("robots_rule"),
        "rights": meta.get("rights"),
        "licence": meta.get("licence"),
        "warc_path": path,
        "warc_offset": record.offset,
        "warc_length": record.length,
        "hints": meta.get("hints"),
        "attempts": meta.get("attempts"),
    }


def crawl_records(warehouse: str, path: str, lost: list[Lost] | None = None) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield the records of a segment that tell of a visit, with what the crawl knew about each.

    A record that cannot be read costs itself alone: it goes to `lost`. Raise Corrupt where the file itself is damaged.
    """
    for record in _records(warehouse, path, [] if lost is None else lost):
        if META.lower() not in record.headers:
            continue
        try:
            meta = _encodable(json.loads(record.headers[META.lower()]))
            if record.kind == "metadata":
                reason_of(record)
        except (ValueError, Corrupt) as error:
            _lose(path, record.offset, error, lost)
            continue
        yield replace(record, url=encodable(record.url)), meta


def _records(warehouse: str, path: str, lost: list[Lost]) -> Iterator[Record]:
    """Yield the records of a segment; where reading them in one go fails, each member by itself from there on."""
    done = 0
    try:
        for record in iterate_segment(warehouse, path, METADATA):
            done = record.offset + record.length
            yield record
        return
    except Corrupt as error:
        log.warning("crawl: %s; each record is read by itself", error)
    with open_warehouse(warehouse, path) as file:
        size, start = file.seek(0, io.SEEK_END), done
        file.seek(0)
        ends = list(member_ends(file))
        if not ends or ends[-1] != size:
            raise Corrupt(f"{path}: damaged behind byte {ends[-1] if ends else 0}")
        for end in (end for end in ends if end > done):
            file.seek(start)
            try:
                (record,) = iterate_stream(io.BytesIO(file.read(end - start)), f"{path} at {start}", METADATA)
                yield replace(record, offset=start, length=end - start)
            except (Corrupt, ValueError) as error:  # no record, or a header that ends early and leaves two
                _lose(path, start, error, lost)
            start = end


def _lose(path: str, offset: int, error: Exception, lost: list[Lost] | None) -> None:
    log.warning("crawl: %s: the record at %d cannot be read and is left out: %s", path, offset, error)
    if lost is not None:
        lost.append((offset, str(error)[:MAX_TEXT]))


def _encodable(value: Any) -> Any:
    """Return what JSON held with texts that Arrow takes."""
    match value:
        case str():
            return encodable(value)
        case dict():
            return {encodable(name): _encodable(item) for name, item in value.items()}
        case list():
            return [_encodable(item) for item in value]
    return value


def reason_of(record: Record) -> tuple[str, str]:
    """Return reason and detail of a record that tells why a URL brought nothing; raise Corrupt."""
    try:
        given = json.loads(record.block or b"")
        return str(given["reason"]), encodable(str(given["detail"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"record at {record.offset} for {record.url} gives no reason: {error}") from error
