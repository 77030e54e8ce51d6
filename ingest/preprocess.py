"""Files in, cleaned and annotated Parquet out: the extraction of the crawl, without a crawl or a home."""

import gzip
import hashlib
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import ids
from catalog.errors import InputError
from catalog.schema import Reason, body, rejects
from catalog.settings import Config
from ingest.extract import DOCUMENT_KINDS, Parse, guarded_parser
from ingest.rejected import Rejected
from ingest.settings import CleaningRules, IngestSettings
from ingest.sniff import sniff
from ingest.urls import file_url, type_by_name

CHUNK_ROWS = 500
TEXT_FIELDS = ("text", "content", "body", "html")
RECORD_SUFFIXES = (".jsonl", ".ndjson")
UNTOUCHED = CleaningRules(
    remove_html=False,
    normalize_whitespace=False,
    filter_stopwords=False,
    fix_unicode=False,
    mask_pii=False,
    use_shipped_rules=False,
)

Outcome: TypeAlias = tuple[dict[str, Any] | None, dict[str, str | None] | None]  # a document, or a reject
Annotator: TypeAlias = Callable[[pa.Table], Mapping[str, pa.Table]]


@dataclass(frozen=True)
class Item:
    """One record to read: bytes with what is known of them, or the reason why there are none."""

    url: str
    payload: bytes
    content_type: str
    fetched_at: datetime | None = None
    problem: Rejected | None = None


def preprocess(source: Path, target: Path, config: Config, clean: bool, annotate: bool) -> dict[str, Any]:
    """Write documents.parquet, rejects.parquet and, where asked for, annotations.parquet; return counts.

    A file that cannot be read or holds no text is a row of rejects.parquet; only the two folders can raise InputError.
    """
    if not source.is_dir():
        raise InputError(f"--input {source}: {'not a folder' if source.exists() else 'no such folder'}")
    settings = config.section(IngestSettings)
    rules = settings.cleaning_rules if clean else UNTOUCHED
    annotator = load_annotator(config) if annotate else None
    parse = guarded_parser(rules, settings.extract)
    rows = (_read(item, source, parse) for item in read_folder(source, target, int(settings.extract.max_html_bytes)))
    return _write(rows, target, annotator) | {"input": str(source), "output": str(target)}


def load_annotator(config: Config) -> Annotator:
    """Load the annotator of texts that an installed package offers under the entry point headrace.annotators."""
    found = list(entry_points(group="headrace.annotators", name="text"))
    if not found:
        raise InputError("--annotate true: no annotator is installed; install headrace whole, or pass --annotate false")
    annotator: Annotator = found[0].load()(config)
    return annotator


def read_folder(folder: Path, target: Path, max_bytes: int) -> Iterator[Item]:
    """Yield every record of every file under a folder, sorted by path; hidden files and `target` are left out."""
    excluded = target.absolute()
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (Path(root) / name).absolute() != excluded
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield from read_file(Path(root) / name, max_bytes)


def read_file(path: Path, max_bytes: int) -> Iterator[Item]:
    """Yield a file's records: one for a page or text (gzip or not), one a line for JSON Lines."""
    url = file_url(str(path.absolute()))
    name = path.name.lower().removesuffix(".gz")
    try:
        fetched_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if not path.is_file():
            raise Rejected(Reason.WRONG_TYPE, "not a regular file")
        if name.endswith(RECORD_SUFFIXES):
            yield from _records(path, url, fetched_at, max_bytes)
            return
        payload = _payload(path, max_bytes)
    except Rejected as error:
        yield Item(url, b"", "", problem=error)
    except (OSError, EOFError, zlib.error) as error:
        yield Item(url, b"", "", problem=Rejected(Reason.MISSING_PAYLOAD, f"cannot be read: {error}"))
    else:
        yield Item(url, payload, type_by_name(file_url("/" + name)), fetched_at)


def _payload(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        payload = file.read(max_bytes + 1)
    if len(payload) > max_bytes:
        raise Rejected(Reason.TOO_LARGE, f"more than max_html_bytes {max_bytes}")
    return payload


def _records(path: Path, url: str, fetched_at: datetime, max_bytes: int) -> Iterator[Item]:
    with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            where = f"{url}#{number}"
            if len(line) > max_bytes:
                yield Item(where, b"", "", problem=Rejected(Reason.TOO_LARGE, f"more than max_html_bytes {max_bytes}"))
                while line and not line.endswith(b"\n"):
                    line = file.readline(max_bytes + 1)
            elif line.strip():
                yield _record(line, number, where, fetched_at)


def _record(line: bytes, number: int, where: str, fetched_at: datetime) -> Item:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Item(where, b"", "", problem=Rejected(Reason.EXTRACTOR_FAILED, f"line {number}: not JSON: {error}"))
    fields = record if isinstance(record, dict) else {}
    name = next((name for name in TEXT_FIELDS if isinstance(fields.get(name), str)), None)
    if name is None:
        detail = f"line {number}: none of the fields {', '.join(TEXT_FIELDS)} holds text"
        return Item(where, b"", "", problem=Rejected(Reason.EMPTY_TEXT, detail))
    url = fields.get("url") if isinstance(fields.get("url"), str) else ""
    url = str(url).encode("utf-8", "replace").decode()  # JSON can spell lone surrogates
    kind = "text/html" if name == "html" else "text/plain"
    return Item(url or where, fields[name].encode("utf-8", "replace"), f"{kind}; charset=utf-8", fetched_at)


def _read(item: Item, source: Path, parse: Parse) -> Outcome:
    page_id = ids.page_id(item.url, hashlib.sha256(item.payload).hexdigest())
    row = {
        "url": item.url, "page_id": page_id, "content_type": item.content_type, "source": str(source),
        "source_class": "other", "fetched_at": item.fetched_at,
    }  # fmt: skip
    try:
        if item.problem is not None:
            raise item.problem
        if not item.payload.strip():
            raise Rejected(Reason.EMPTY_TEXT, "nothing in it")
        sniffed = sniff(item.payload, item.content_type, item.url)
        if sniffed.kind not in DOCUMENT_KINDS:
            raise Rejected(Reason.WRONG_TYPE, f"{sniffed.content_type} (by its name: {item.content_type})")
        return parse(item.payload, sniffed.kind, row), None
    except Rejected as error:
        return None, {"record_id": page_id, "url": item.url, "reason": error.reason, "detail": error.detail}


def _write(rows: Iterator[Outcome], target: Path, annotator: Annotator | None) -> dict[str, Any]:
    names = ["documents", "rejects", *(["annotations"] if annotator else [])]
    written: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    try:
        target.mkdir(parents=True, exist_ok=True)
        partial = {name: target / f".{name}.parquet.partial" for name in names}
        with ExitStack() as stack:
            writers = {name: stack.enter_context(pq.ParquetWriter(path, body(name))) for name, path in partial.items()}
            for documents, rejected in _chunks(rows):
                tables = _annotated(documents, rejected, annotator)
                for name in names:
                    writers[name].write_table(tables[name])
                    written[name] += tables[name].num_rows
                reasons.update(tables["rejects"]["reason"].to_pylist())
                languages.update(language or "unknown" for language in documents["language"].to_pylist())
                for changes in documents["rule_hits"].to_pylist():
                    hits.update({change["rule"]: change["hits"] for change in changes})
        for name, path in partial.items():
            path.replace(target / f"{name}.parquet")
    except OSError as error:
        raise InputError(f"--output {target}: cannot be written: {error.strerror or error}") from error
    return {
        "tables": {name: written[name] for name in names},
        "rejects": dict(sorted(reasons.items())),
        "languages": dict(languages.most_common()),
        "rule_hits": dict(hits.most_common()),
    }


def _chunks(rows: Iterator[Outcome]) -> Iterator[tuple[pa.Table, pa.Table]]:
    documents: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    for document, reject in rows:
        if document is not None:
            documents.append(document)
        if reject is not None:
            rejected.append(reject)
        if len(documents) + len(rejected) >= CHUNK_ROWS:
            yield pa.Table.from_pylist(documents, schema=body("documents")), rejects("extract", rejected)
            documents, rejected = [], []
    yield pa.Table.from_pylist(documents, schema=body("documents")), rejects("extract", rejected)


def _annotated(documents: pa.Table, rejected: pa.Table, annotator: Annotator | None) -> dict[str, pa.Table]:
    tables = {"documents": documents, "rejects": rejected}
    if annotator is not None:
        found = annotator(documents) if documents.num_rows else {}
        tables["annotations"] = found.get("annotations", body("annotations").empty_table())
        if "rejects" in found:
            tables["rejects"] = pa.concat_tables([rejected, found["rejects"].select(rejected.column_names)])
    return tables
