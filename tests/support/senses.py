"""A home whose extract, embed and transcribe stages publish given rows; its dedup stage is the real one."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyarrow as pa
from PIL import Image, ImageOps
from texts import CRAWL, DAY, document

from catalog import schema
from catalog.dedup import DEDUP
from catalog.home import Home, Input, Plan
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

Rows = Sequence[Mapping[str, Any]]


def _nothing(home: Home, config: Config) -> StageReport:
    return StageReport("")


def _sibling(name: str, tables: tuple[str, ...]) -> Stage:
    return Stage(name, ("extract",), tables, 1, lambda _: {}, _nothing)


EMBED = _sibling("embed", ("image_features", "thumbnails", "text_features"))
TRANSCRIBE = _sibling("transcribe", ("transcripts",))
EXTRACTS = Stage("extract", ("crawl",), ("documents", "media"), 1, lambda _: {}, _nothing)
STAGES = {stage.name: stage for stage in (CRAWL, EXTRACTS, EMBED, TRANSCRIBE, DEDUP)}
# degrees of its vector, pHash, seed of its pixels (perhaps with quarters by which it is turned, and whether mirrored)
Picture = tuple[float, int, int | tuple[int, int, bool]]


@dataclass
class Day:
    """What one extract batch holds, and what the models made of it."""

    texts: dict[str, str] = field(default_factory=dict)  # by URL
    angles: dict[str, float] = field(default_factory=dict)  # by URL: degrees of the text's vector
    pictures: dict[str, Picture] = field(default_factory=dict)
    recordings: dict[str, tuple[str, float, str]] = field(default_factory=dict)  # id → words, seconds, hash of samples


class _Give:
    def __init__(self, tables: Mapping[str, Rows]) -> None:
        self._tables = {name: pa.Table.from_pylist(list(rows), schema.body(name)) for name, rows in tables.items()}

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return self._tables


def live(home: Home, config: Config, number: int, day: Day, embedded: bool = True) -> str:
    """Publish a day: one extract batch, and one of embed and of transcribe; return the extract batch."""
    documents = [document(url, text, number) for url, text in day.texts.items()]
    pages = [{name: row[name] for name in ("page_id", "url", "fetched_at")} for row in documents]
    media = [
        {"media_id": name, "page_id": name, "url": f"http://m/{name}", "kind": kind,
         "fetched_at": DAY + timedelta(days=number)}
        for kind, names in (("image", day.pictures), ("audio", day.recordings)) for name in names
    ]  # fmt: skip
    pages += [{name: row[name] for name in ("page_id", "url", "fetched_at")} for row in media]
    fetched = pa.Table.from_pylist(pages, schema.body("pages"))
    home.publish_origin(CRAWL, repr((number, day)), len(pages), {"pages": fetched}, {})
    _publish(home, config, EXTRACTS, {"documents": documents, "media": media})
    by = {"model": "toy", "revision": "1"}
    ids = {row["url"]: row["document_id"] for row in documents}
    features = {
        "text_features": [{"document_id": ids[url], "vector": _vector(at), **by} for url, at in day.angles.items()],
        "image_features": [
            {"media_id": name, "width": 8, "height": 8, "phash": f"{phash:016x}", "vector": _vector(at), **by}
            for name, (at, phash, _) in day.pictures.items()
        ],
        "thumbnails": [
            {"media_id": name, "webp": _webp(seed), "width": 64, "height": 64}
            for name, (_, _, seed) in day.pictures.items()
        ],
    }
    heard = [
        {"media_id": name, "text": words, "duration": seconds, "pcm_sha256": samples, "language": "en", **by}
        for name, (words, seconds, samples) in day.recordings.items()
    ]
    if embedded:
        _publish(home, config, EMBED, features)
        _publish(home, config, TRANSCRIBE, {"transcripts": heard})
    return home.view().live("extract")[-1].batch_id


def _publish(home: Home, config: Config, stage: Stage, tables: Mapping[str, Rows]) -> None:
    *_, batch = home.todo(stage, config)
    plan = Plan((Input(batch, 1),), pa.table({"id": ["all"]}), "id")
    tables = {name: rows for name, rows in tables.items() if rows}
    report = home.publish(stage, config, [plan], lambda: _Give(tables), Resources())
    assert report.batches == 1


def _vector(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def _webp(drawn: int | tuple[int, int, bool]) -> bytes:
    seed, quarters, mirrored = (drawn, 0, False) if isinstance(drawn, int) else drawn
    image = Image.new("L", (4, 4))
    image.putdata([(seed * 7919 + 131 * k * k + 37 * k * seed) % 251 for k in range(16)])
    image = ImageOps.mirror(image) if mirrored else image
    image = image.rotate(90 * quarters)
    buffer = io.BytesIO()
    image.resize((64, 64)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()
