"""Which rows a takedown means: the subject, what was made of it in any table, and what only it refers to."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from catalog.decisions import NO_DECISION, PROPOSED, Verdict
from catalog.errors import InputError
from catalog.home import Home
from catalog.schema import ROW_ID, TABLES
from catalog.shards import open_dataset
from catalog.tombstones import domains_of
from catalog.urls import canonical

Kind: TypeAlias = Literal["url", "host", "hash", "id", "cluster"]
Row: TypeAlias = dict[str, Any]
LOCATOR = ("warc_path", "warc_offset", "warc_length")
OF_MEDIA = ("image_features", "image_patches", "thumbnails", "transcripts", "audio_states")
OF_DOCUMENTS = ("text_features",)


@dataclass
class Victims:
    """What a takedown removes; it can be written down and read again, so that a killed one is finished."""

    urls: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    media: list[str] = field(default_factory=list)  # those that stand under no other URL
    media_rows: list[tuple[str, str]] = field(default_factory=list)  # (media_id, url)
    examples: list[str] = field(default_factory=list)
    payloads: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    records: list[tuple[str, int, int]] = field(default_factory=list)  # WARC members: path, offset, length
    segments: list[str] = field(default_factory=list)  # archives that hold refusals of these URLs
    removed: list[tuple[str, str, str, int]] = field(default_factory=list)  # rows: table, batch, reason, number

    def mask(self, table: str, rows: pa.Table) -> pa.Array:
        """Return which rows of a table go."""
        if table == "media":
            return _among([f"{one} {url}" for one, url in self.media_rows],
                          pc.binary_join_element_wise(rows["media_id"], rows["url"], " "))  # fmt: skip
        clauses = {
            "pages": [("page_id", self.pages)],
            "documents": [("document_id", self.documents)],
            "annotations": [("subject_id", [*self.documents, *self.media])],
            "duplicates": [(name, [*self.documents, *self.media]) for name in ("record_id", "kept_id")],
            "examples": [("example_id", self.examples)],
            "rejects": [("record_id", [*self.pages, *self.documents, *self.media]), ("url", self.urls)],
            "reviews": [
                ("subject_id", [*self.pages, *self.documents, *self.media, *self.examples]),
                ("other_id", [*self.documents, *self.media]),
            ],
            **{name: [("media_id", self.media)] for name in OF_MEDIA},
            **{name: [("document_id", self.documents)] for name in OF_DOCUMENTS},
        }.get(table, [])
        found = pa.array([False] * rows.num_rows, pa.bool_())
        for column, values in clauses:
            found = pc.or_(found, _among(values, rows[column]))
        return found

    def counts(self) -> dict[str, int]:
        """Count the rows that go, by table."""
        counts: Counter[str] = Counter()
        for table, _, _, number in self.removed:
            counts[table] += number
        return dict(sorted(counts.items()))


def columns_of(table: str) -> list[str]:
    """Return the columns by which `Victims.mask` judges rows of a table, and their batch."""
    extra = {"rejects": ["url", "reason"], "media": ["url"], "duplicates": ["kept_id"]}
    extra["reviews"] = ["subject_id", "other_id"]
    return list(dict.fromkeys([ROW_ID[table], *extra.get(table, []), "batch_id"]))


def find(home: Home, kind: Kind, value: str) -> Victims:
    """Find everything that a takedown means, live or not; raise InputError where there is nothing of it."""
    value = spelled(kind, value)
    tables = _Tables(home)
    pages = tables.rows("pages", ["page_id", "url", "payload_sha256", *LOCATOR])
    documents = tables.rows("documents", ["document_id", "page_id", "url", "text_sha256", "media"])
    chosen = _chosen(kind, value, pages, documents, tables)
    gone = [row for row in documents if row["page_id"] in chosen]
    kept = {medium["url"] for row in documents if row["page_id"] not in chosen for medium in row["media"] or ()}
    only = {medium["url"] for row in gone for medium in row["media"] or ()} - kept
    chosen |= {row["page_id"] for row in pages if row["url"] in only}
    found = [row for row in pages if row["page_id"] in chosen]
    if not found and kind not in ("url", "host"):
        raise InputError(f"--{kind} {value}: nothing of it is stored here")
    staying = [row for row in pages if row["page_id"] not in chosen]
    kept_payloads = {row["payload_sha256"] for row in staying}
    kept_texts = {row["text_sha256"] for row in documents if row["page_id"] not in chosen}
    kept_urls = {row["url"] for row in staying}
    media = tables.rows("media", ["media_id", "page_id", "url"])
    stay = {row["media_id"] for row in media if row["page_id"] not in chosen}
    victims = Victims(
        urls=_distinct({*(row["url"] for row in found), *([value] if kind == "url" else [])} - kept_urls),
        pages=sorted(chosen),
        documents=_distinct(row["document_id"] for row in documents if row["page_id"] in chosen),
        media=_distinct(row["media_id"] for row in media if row["media_id"] not in stay),
        media_rows=sorted({(row["media_id"], row["url"]) for row in media if row["page_id"] in chosen}),
        payloads=_distinct({row["payload_sha256"] for row in found} - kept_payloads),
        texts=_distinct({row["text_sha256"] for row in gone} - kept_texts),
        records=sorted({tuple(row[name] for name in LOCATOR) for row in found if row["warc_path"]}),
    )
    _add_derived(victims, tables, kind, value)
    return victims


def spelled(kind: Kind, value: str) -> str:
    """Return a subject as tables and tombstones spell it; raise InputError where it is no URL or no host."""
    if kind == "url" and not value.startswith("file://"):
        url = canonical(value)
        if url is None:
            raise InputError(f"--url {value}: is no URL; write it with http:// or https://")
        return url
    if kind == "host":
        url = None if "/" in value else canonical(f"http://{value}")
        if url is None:
            raise InputError(f"--host {value}: is no host; write it without scheme and path, such as example.org")
        return next(iter(domains_of(url))).rstrip(".")
    return value


def _chosen(kind: Kind, value: str, pages: Iterable[Row], documents: Iterable[Row], tables: "_Tables") -> set[str]:
    """Return the pages that the subject names."""
    if kind == "url":
        return {row["page_id"] for row in pages if row["url"] == value}
    if kind == "host":
        return {row["page_id"] for row in pages if value in domains_of(row["url"])}
    if kind == "hash":
        texts = {row["page_id"] for row in documents if row["text_sha256"] == value}
        return texts | {row["page_id"] for row in pages if row["payload_sha256"] == value}
    ids = tables.cluster(value) if kind == "cluster" else {value}
    examples = {row["document_id"] for row in tables.rows("examples", ["example_id", "document_id"])
                if row["example_id"] in ids}  # fmt: skip
    named = {row["page_id"] for row in documents if row["document_id"] in ids | examples}
    named |= {row["page_id"] for row in tables.rows("media", ["media_id", "page_id"]) if row["media_id"] in ids}
    return named | {row["page_id"] for row in pages if row["page_id"] in ids}


def _add_derived(victims: Victims, tables: "_Tables", kind: Kind, value: str) -> None:
    """Find the examples that show a victim, the archives with refusals of it, and count the rows of every table."""
    documents, media = set(victims.documents), set(victims.media)
    examples = tables.rows("examples", ["example_id", "document_id", "segments", "batch_id"])
    shown = {
        (row["document_id"], row["batch_id"])
        for row in examples
        if any(segment["ref_id"] in media for segment in row["segments"] or ())
    }  # all parts of such a document go, so that none is left without its others
    victims.examples = _distinct(
        row["example_id"]
        for row in examples
        if row["document_id"] in documents or (row["document_id"], row["batch_id"]) in shown
    )
    refused = tables.rows("rejects", ["url", "stage", "batch_id"])
    if kind == "host":
        named = (row["url"] for row in refused if row["url"] and value in domains_of(row["url"]))
        victims.urls = _distinct([*victims.urls, *named])
    urls = set(victims.urls)
    batches = {row["batch_id"] for row in refused if row["stage"] == "crawl" and row["url"] in urls}
    victims.segments = tables.segments(batches)
    for table in TABLES:
        if table == "tombstones":
            continue
        rows = tables.table(table, columns_of(table))
        gone = rows.filter(victims.mask(table, rows))
        reasons = gone["reason"].to_pylist() if table == "rejects" else [""] * gone.num_rows
        numbers = Counter(zip(gone["batch_id"].to_pylist(), reasons, strict=True))
        victims.removed += [(table, batch, reason, number) for (batch, reason), number in sorted(numbers.items())]


class _Tables:
    """All rows of every table, live or not."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._view = home.view()

    def table(self, name: str, columns: list[str]) -> pa.Table:
        dataset = open_dataset(self._view.urls(name), TABLES[name])
        return dataset.to_table(columns=columns)

    def rows(self, name: str, columns: list[str]) -> list[Row]:
        found: list[Row] = self.table(name, columns).to_pylist()
        return found

    def cluster(self, record: str) -> set[str]:
        """Return the records that decisions link with one, however far."""
        linked: dict[str, set[str]] = {}
        reviews = sorted(
            self.rows("reviews", ["subject_id", "other_id", "verdict", "time"]), key=lambda row: row["time"]
        )
        said = {(row["subject_id"], row["other_id"]): row["verdict"] for row in reviews}
        for row in self.rows("duplicates", ["record_id", "kept_id", "kind", "state"]):
            verdict = said.get((row["record_id"], row["kept_id"]))
            counts = (row["state"] != PROPOSED and verdict != Verdict.DISTINCT) or verdict == Verdict.DUPLICATE
            if row["kept_id"] and row["kind"] not in NO_DECISION and counts:
                linked.setdefault(row["record_id"], set()).add(row["kept_id"])
                linked.setdefault(row["kept_id"], set()).add(row["record_id"])
        found, open_ = {record}, [record]
        while open_:
            new = linked.get(open_.pop(), set()) - found
            found |= new
            open_ += new
        return found

    def segments(self, batches: set[str]) -> list[str]:
        """Return the archives that crawl batches were made from."""
        import json

        rows = (self._view.state.published[batch] for batch in batches if batch in self._view.state.published)
        return _distinct(json.loads(row.settings).get("segment") for row in rows)


def _among(values: Iterable[str], column: Any) -> Any:
    found = pc.is_in(column, pa.array(list(values), pa.string()), skip_nulls=True)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def encode(victims: Victims) -> dict[str, Any]:
    """Return what can be written as JSON."""
    return asdict(victims)


def decode(given: Mapping[str, Any]) -> Victims:
    """Read what `encode` gave."""
    pairs: dict[str, Callable[[list[Any]], Any]] = {name: lambda items: [tuple(item) for item in items]
                                                    for name in ("media_rows", "records", "removed")}  # fmt: skip
    return Victims(**{name: pairs.get(name, list)(value) for name, value in given.items()})
