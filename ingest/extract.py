"""Pages in; documents, media and rejects out."""

import sys
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from typing import Any, TypeAlias

import pyarrow as pa

from catalog.errors import Corrupt
from catalog.guard import Guarded, Stopped
from catalog.schema import LOCATOR, Reason, body, rejects
from catalog.tombstones import NOTHING, Forgotten
from catalog.warc import read_payload
from ingest.document import read_document
from ingest.rejected import Rejected
from ingest.rights import describe, opt_out
from ingest.settings import OPT_OUTS, CleaningRules, ExtractSettings
from ingest.sniff import sniff

MEDIA_KINDS = ("image", "audio", "video")
DOCUMENT_KINDS = ("html", "markdown", "text", "pdf")

Read: TypeAlias = Callable[[Mapping[str, Any]], bytes]  # a row of pages → its payload; raises Corrupt
Parse: TypeAlias = Callable[[bytes, str, Mapping[str, Any]], dict[str, Any]]  # payload, kind, row → document; Rejected


def extract_batch(
    pages: pa.Table, read: Read, parse: Parse, opt_outs: Collection[str] = OPT_OUTS, agent: str = "headrace"
) -> dict[str, pa.Table]:
    """Turn each row of `pages` into a row of `documents`, `media` or `rejects`.

    `opt_outs` are the rights signals, said to everyone or to `agent`, that turn a row away; a page whose pictures alone
    are reserved becomes a document without pictures.
    """
    documents: dict[str, dict[str, Any]] = {}
    media: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    for row in pages.to_pylist():
        try:
            payload = _payload(row, read)
            sniffed = sniff(payload, row["content_type"], row["url"])
            if signal := opt_out(row["rights"], sniffed.kind, opt_outs, agent):
                detail = f"its owner says {describe(signal)}; extract.respect_rights decides whether that counts"
                raise Rejected(Reason.NOAI, detail)
            if sniffed.kind in MEDIA_KINDS:
                media.append(_media_row(row, sniffed.kind, sniffed.content_type, len(payload)))
            elif sniffed.kind in DOCUMENT_KINDS:
                document = parse(payload, sniffed.kind, row)
                if opt_out(row["rights"], "image", opt_outs, agent):
                    document["media"] = [medium for medium in document["media"] if medium["kind"] != "image"]
                # Two payloads of one URL may hold the same text: one document, with the later fetch's facts.
                other = documents.get(document["document_id"])
                documents[document["document_id"]] = document if other is None else max(document, other, key=_age)
                if other is not None:
                    rejected.append(_same_text(min(document, other, key=_age)))
            else:
                declared = row["content_type"] or "nothing"
                raise Rejected(Reason.WRONG_TYPE, f"{sniffed.content_type} (declared: {declared})")
        except Rejected as error:
            detail = error.detail
            rejected.append({"record_id": row["page_id"], "url": row["url"], "reason": error.reason, "detail": detail})
    return {
        "documents": pa.Table.from_pylist(list(documents.values()), schema=body("documents")),
        "media": pa.Table.from_pylist(media, schema=body("media")),
        "rejects": rejects("extract", rejected),
    }


def _payload(row: Mapping[str, Any], read: Read) -> bytes:
    if not row["warc_path"]:
        raise Rejected(Reason.MISSING_PAYLOAD, row["reason"] or "the fetch stored no payload")
    try:
        payload = read(row)
    except Corrupt as error:
        raise Rejected(Reason.MISSING_PAYLOAD, str(error)) from error
    if not payload:
        raise Rejected(Reason.EMPTY_TEXT, "the payload has no bytes")
    return payload


def _media_row(row: Mapping[str, Any], kind: str, content_type: str, num_bytes: int) -> dict[str, Any]:
    same = ("page_id", "url", "fetched_at", "licence", "rights", *LOCATOR)
    found = {"media_id": row["payload_sha256"], "kind": kind, "content_type": content_type, "num_bytes": num_bytes}
    return found | {name: row[name] for name in same}


def _same_text(document: Mapping[str, Any]) -> dict[str, str | None]:
    detail = "a later fetch of this URL brought the same text in another payload"
    return {"record_id": document["page_id"], "url": document["url"], "reason": Reason.SAME_TEXT, "detail": detail}


def _age(document: Mapping[str, Any]) -> tuple[Any, str]:
    return document["fetched_at"], document["page_id"]


def guarded_parser(rules: CleaningRules, wanted: ExtractSettings) -> Parse:
    """Return `read_document` under these settings, in a process that is killed at the page's limits."""
    guarded = _guarded(wanted.max_seconds, int(wanted.max_memory), bool(rules.presidio_entities))

    def parse(payload: bytes, kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return guarded(payload, kind, row, rules, wanted)
        except (Stopped, MemoryError) as error:
            detail = str(error) or f"needs more than max_memory {wanted.max_memory}"
            raise Rejected(Reason.EXTRACTOR_FAILED, detail) from error

    return parse


@lru_cache(maxsize=1)  # one child for all batches of a process; it takes seconds to import the parsers
def _guarded(max_seconds: float, max_memory: int, presidio: bool) -> Guarded[..., dict[str, Any]]:
    return Guarded(_WithPresidio() if presidio else read_document, max_seconds, max_memory)


class _WithPresidio:
    """`read_document`, which loads Presidio where it is unpickled: the child does so before a page's clock starts."""

    def __reduce__(self) -> tuple[Callable[[], Callable[..., dict[str, Any]]], tuple[()]]:
        return _load_with_presidio, ()

    def __call__(self, *args: Any) -> dict[str, Any]:
        return read_document(*args)


def _load_with_presidio() -> Callable[..., dict[str, Any]]:
    # What cuts Presidio's words imports these where it can; the child needs neither, nor their gigabytes.
    for name in ("torch", "transformers"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    from ingest.presidio import load_analyzer

    load_analyzer()
    return read_document


class ExtractWorker:
    """Reads payloads from the warehouse, then calls `extract_batch`."""

    def __init__(
        self,
        warehouse: str,
        max_bytes: int,
        rules: CleaningRules,
        wanted: ExtractSettings,
        agent: str,
        forgotten: Forgotten = NOTHING,
    ) -> None:
        self._read = partial(_read_row, warehouse, max_bytes)
        self._parse = _unless_forgotten(guarded_parser(rules, wanted), forgotten)
        self._opt_outs = wanted.opt_outs if wanted.respect_rights else ()
        self._agent = agent

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return extract_batch(part, self._read, self._parse, self._opt_outs, self._agent)


def _unless_forgotten(parse: Parse, forgotten: Forgotten) -> Parse:
    """Turn away texts that were taken down, whatever URL brings them."""

    def checked(payload: bytes, kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
        document = parse(payload, kind, row)
        if forgotten.text(document["text_sha256"]):
            raise Rejected(Reason.PURGED, "its text was taken down")
        return document

    return checked


def _read_row(warehouse: str, max_bytes: int, row: Mapping[str, Any]) -> bytes:
    return read_payload(warehouse, row["warc_path"], row["warc_offset"], row["warc_length"], max_bytes)
