"""A small home with one of everything that can happen to a URL, published by hand through the hub's own commit steps.

/a       a page with a picture: fetched, extracted, embedded, annotated, fused, trained on
/b       the same text as /a: set aside
/v       changed: the second version supersedes the first, whose example was fused and trained on before
/empty   fetched, but extract found no text
/private robots.txt forbids it
/late    fetched, not extracted yet
/queued, /deep, /moved, /same   known to the frontier alone: waiting, too deep, redirected to /a, visited without news
"""

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import schema
from catalog.home import Home
from catalog.ids import make_id
from catalog.ledger import ORIGIN, InputCounts, Row
from catalog.publish import commit_tables
from catalog.settings import CatalogSettings
from catalog.shards import PartKey, write_part
from ingest.frontier import Frontier, Settled, Task
from ingest.settings import NetworkSettings
from ingest.source_settings import Source

SITE = "https://story.example/"
TIME = datetime(2026, 3, 1, 12, tzinfo=UTC)
WARC = "warc/story.warc.gz"
Tables = Mapping[str, list[dict[str, Any]]]


def png(width: int, height: int) -> bytes:
    """A grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes([128]) * width for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


PICTURE = png(3, 2)
PICTURE_ID = hashlib.sha256(PICTURE).hexdigest()


@dataclass(frozen=True)
class Made:
    """What an input batch gives, and what it rejects by record id, url and reason."""

    tables: Tables
    rejects: tuple[tuple[str, str, str, str], ...] = ()


def put(home: Home, stage: str, made: Made, inputs: Iterable[str] = (), num_in: int = 0, recipe: str = "") -> str:
    """Publish one batch by hand: shards, one commit a table, then its ledger row; return its id."""
    inputs = tuple(inputs)
    recipe = recipe or (f"recipe of {stage}" if inputs else ORIGIN)
    batch = make_id("story", stage, recipe, *inputs, json.dumps(made.tables, default=str, sort_keys=True))
    known = home.ledger.refresh().published
    origins = tuple(sorted({origin for name in inputs for origin in known[name].origins})) or (batch,)
    tables = {name: pa.Table.from_pylist(rows, schema=schema.body(name)) for name, rows in made.tables.items()}
    rejected = [dict(zip(("record_id", "url", "reason", "detail"), row, strict=True)) for row in made.rejects]
    outputs = {**tables, "rejects": schema.rejects(stage, rejected)}
    done = write_part(home.warehouse, PartKey(batch, 0, 1, make_id("part", batch), ""), outputs, tuple(tables))
    commit_tables(home, batch, [done])
    from_outside = (InputCounts("segment", num_in, num_in - len(rejected), len(rejected)),)
    counts = tuple(InputCounts(name, num_in, num_in - len(rejected), len(rejected)) for name in inputs)
    row = Row(0, "publish", stage, TIME + timedelta(hours=1), batch, recipe, inputs=counts or from_outside)
    row = replace(row, origins=origins, outputs=dict(done.rows), rejects=dict(done.rejects), code_version="0")
    home.ledger.append(lambda state: [row])
    return batch


def page(name: str, payload: str, minutes: int = 0, **more: Any) -> dict[str, Any]:
    """A fetched page."""
    return {
        "page_id": make_id("page", name, payload), "url": SITE + name, "source": SITE, "source_class": "news",
        "fetched_at": TIME + timedelta(minutes=minutes), "status": 200, "content_type": "text/html",
        "num_bytes": len(payload), "robots_rule": "Allow: /", "licence": "CC-BY-4.0", **more,
    }  # fmt: skip


def document(name: str, payload: str, text: str, minutes: int = 0, media: tuple[str, ...] = ()) -> dict[str, Any]:
    """What extract made of a page."""
    references = [{"url": SITE + url, "kind": "image", "alt": "grey", "caption": None, "block": 0} for url in media]
    return {
        "document_id": make_id("document", name, text), "page_id": make_id("page", name, payload), "url": SITE + name,
        "fetched_at": TIME + timedelta(minutes=minutes), "title": f"Title of {name}", "language": "en", "text": text,
        "text_sha256": hashlib.sha256(text.encode()).hexdigest(), "media": references, "licence": "CC-BY-4.0",
        "source": SITE, "source_class": "news",
    }  # fmt: skip


def example(made_of: dict[str, Any], batch: str, media: tuple[str, ...] = (), change: str = "new") -> dict[str, Any]:
    """What fuse made of a document."""
    ids = ("document_id", "url", "text", "language", "licence", "source", "source_class", "fetched_at")
    segments = [{"kind": "text", "ref_id": made_of["document_id"], "block": 0, "start": 0, "end": 4, "text": "Text"}]
    segments += [{"kind": "image", "ref_id": name, "block": 0, "start": 4, "end": 4, "text": "grey"} for name in media]
    return {
        "example_id": make_id("example", made_of["document_id"], *media), "document_batch": batch,
        "segments": segments, "split": "train", "change": change, **{name: made_of[name] for name in ids},
    }  # fmt: skip


def decision(kind: str, record: tuple[str, str], kept: tuple[str, str]) -> dict[str, Any]:
    """What dedup decided."""
    return {
        "record_id": record[0], "record_batch": record[1], "kept_id": kept[0], "kept_batch": kept[1], "kind": kind,
        "score": 1.0, "threshold": 1.0, "method": "url" if kind == "superseded" else "sha256",
    }  # fmt: skip


@dataclass(frozen=True)
class Story:
    """The home, and the ids that tests ask for."""

    home: Home
    batches: dict[str, str]
    documents: dict[str, dict[str, Any]]
    examples: dict[str, dict[str, Any]]


def warc_member(payload: bytes) -> bytes:
    """One response as a gzip member of a WARC segment."""
    http = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n" + payload
    header = (
        f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {SITE}p.png\r\nWARC-Date: 2026-03-01T12:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return gzip.compress(header.encode() + http + b"\r\n\r\n", mtime=0)


def write_picture(home: Home) -> tuple[int, int]:
    """Store the picture's response in a WARC segment; return where its record is."""
    member = warc_member(PICTURE)
    path = Path(home.warehouse) / WARC
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(member)
    return 0, len(member)


def tell(root: Path) -> Story:
    """Publish the whole story below `root`."""
    home = Home.open(CatalogSettings(root=root))
    offset, length = write_picture(home)
    at = {"warc_path": WARC, "warc_offset": offset, "warc_length": length}
    docs = {
        "a": document("a", "A", "The same words.", media=("p.png",)),
        "b": document("b", "B", "The same words.", minutes=1),
        "old": document("v", "V1", "First version."),
        "new": document("v", "V2", "Second version.", minutes=30),
    }
    picture = page("p.png", "P", content_type="image/png", num_bytes=len(PICTURE), referrer=SITE + "a", **at)
    first = [page("a", "A"), page("b", "B", 1), page("v", "V1"), page("empty", "E"), picture]
    private = (make_id("private"), SITE + "private", "robots_denied", "Disallow: /private")
    b: dict[str, str] = {}
    b["crawl1"] = put(home, "crawl", Made({"pages": first}, (private,)), num_in=6)
    b["crawl2"] = put(home, "crawl", Made({"pages": [page("v", "V2", 30)]}), num_in=1)
    b["crawl3"] = put(home, "crawl", Made({"pages": [page("late", "L", 40, robots_rule=None)]}), num_in=1)
    medium = {"media_id": PICTURE_ID, "page_id": picture["page_id"], "url": SITE + "p.png", "kind": "image"}
    medium |= {"content_type": "image/png", "num_bytes": len(PICTURE), "licence": "CC0-1.0", **at}
    empty = (make_id("page", "empty", "E"), SITE + "empty", "empty_text", "no text left after cleaning")
    extracted = Made({"documents": [docs["a"], docs["b"], docs["old"]], "media": [medium]}, (empty,))
    b["extract1"] = put(home, "extract", extracted, [b["crawl1"]], 5)
    fused_before = example(docs["old"], b["extract1"])
    b["fuse1"] = put(home, "fuse", Made({"examples": [fused_before]}), [b["extract1"]], 1)
    b["extract2"] = put(home, "extract", Made({"documents": [docs["new"]]}), [b["crawl2"]], 1)
    by = {"model": "tiny", "revision": "r1"}
    vectors = [{"document_id": item["document_id"], "vector": [1.0, 0.0], **by} for item in docs.values()]
    seen = {"media_id": PICTURE_ID, "width": 3, "height": 2, "tags": [{"label": "grey", "score": 0.9}], **by}
    embedded = Made({"text_features": vectors[:3], "image_features": [seen]})
    b["embed1"] = put(home, "embed", embedded, [b["extract1"]], 4)
    b["embed2"] = put(home, "embed", Made({"text_features": vectors[3:]}), [b["extract2"]], 1)
    notes = {"subject_id": docs["a"]["document_id"], "subject_kind": "document", "entities": [], "annotator": "spacy"}
    b["annotate1"] = put(home, "annotate", Made({"annotations": [notes]}), [b["extract1"]], 3)
    records = {name: (docs[name]["document_id"], b["extract2" if name == "new" else "extract1"]) for name in docs}
    decisions = [decision("exact", records["b"], records["a"]), decision("superseded", records["old"], records["new"])]
    b["dedup1"] = put(home, "dedup", Made({"duplicates": decisions}), [b["extract1"], b["extract2"]], 2)
    examples = {
        "old": fused_before,
        "a": example(docs["a"], b["extract1"], (PICTURE_ID,)),
        "new": example(docs["new"], b["extract2"], change="revised"),
    }
    fused = Made({"examples": [examples["a"], examples["new"]]})
    b["fuse2"] = put(home, "fuse", fused, [b["extract1"], b["extract2"]], 2)
    b["train1"] = put(home, "train", Made({}), [b["fuse1"]], 1)
    b["train2"] = put(home, "train", Made({}), [b["fuse2"]], 2)
    old, others = fused_before["example_id"], [examples["a"]["example_id"], examples["new"]["example_id"]]
    write_version(root, "v1", b["train1"], [old])
    write_version(root, "v2", b["train2"], [*others, old])
    (root / "models" / "promoted").write_text("v2\n")
    write_frontier(root)
    return Story(home, b, docs, examples)


def write_version(root: Path, name: str, made_by: str, rows: list[str]) -> None:
    """A model version as the registry lays it out."""
    folder = root / "models" / "versions" / name
    folder.mkdir(parents=True)
    manifest = {"version": name, "round": made_by, "created": f"2026-03-0{name[1:]}T00:00:00+00:00", "base": "tiny"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    plan = {"epoch": [0] * len(rows), "row_id": rows, "kind": ["new"] * len(rows)}
    pq.write_table(pa.table(plan), folder / "plan.parquet")


def write_frontier(root: Path) -> None:
    """The crawler's own frontier, filled by its own methods."""
    frontier = Frontier(root / "frontier.db", NetworkSettings())
    source = Source.model_validate({"url": SITE, "kind": "site", "depth": 1})
    frontier.begin([source], TIME.timestamp())
    frontier.seed(source, SITE, "page", "story.example")

    def task(name: str, depth: int) -> Task:
        return Task(SITE + name, "story.example", SITE, "page", depth, None, "story.example", 0)

    frontier.admit(task("", 0), [SITE + name for name in ("a", "queued", "moved", "same")], "page")
    frontier.admit(task("a", 1), [SITE + "deep"], "page")
    frontier.redirect(task("moved", 1), SITE + "a", "story.example")
    frontier.settle(Settled(SITE + "same", "ok", TIME.timestamp() + 60))
    frontier.close()
