"""A home whose extract stage publishes given texts; its dedup stage is the real one."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog import schema
from catalog.dedup import DEDUP
from catalog.home import Home, Input, Plan
from catalog.ids import document_id, text_sha256
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

DAY = datetime(2026, 1, 1, tzinfo=UTC)


class _Pass:
    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return {"documents": part}


def _nothing(home: Home, config: Config) -> StageReport:
    return StageReport("extract")


CRAWL = Stage("crawl", (), ("pages",), 1, lambda _: {}, _nothing)
EXTRACT = Stage("extract", ("crawl",), ("documents",), 1, lambda _: {}, _nothing)
STAGES = {stage.name: stage for stage in (CRAWL, EXTRACT, DEDUP)}


def config_of(root: Path, **dedup: object) -> Config:
    """A configuration with some settings of dedup."""
    return Config({"root": str(root), "engine": "local", "dedup": dedup})


def put(home: Home, config: Config, day: int, texts: Mapping[str, str], title: str = "", language: str = "en") -> str:
    """Publish one extract batch with a text for each URL; return its id."""
    key = repr((day, sorted(texts.items())))
    home.publish_origin(CRAWL, key, 0, {"pages": schema.body("pages").empty_table()}, {})
    *_, batch = home.todo(EXTRACT, config)
    rows = [document(url, text, day, title, language) for url, text in texts.items()]
    table = pa.Table.from_pylist(rows, schema=schema.body("documents"))
    home.publish(EXTRACT, config, [Plan((Input(batch, 0),), table, "document_id", 3)], _Pass, Resources())
    return home.view().live("extract")[-1].batch_id


def document(url: str, text: str, day: int, title: str = "", language: str = "en") -> dict[str, Any]:
    """A row of `documents`."""
    digest = text_sha256(text)
    return {
        "document_id": document_id(url, digest),
        "page_id": f"{url} {day}",
        "url": url,
        "fetched_at": DAY + timedelta(days=day),
        "title": title,
        "text": text,
        "text_sha256": digest,
        "language": language,
    }


def decisions(home: Home) -> list[tuple[str, str, str, float]]:
    """Return what dedup said, as (URL, kept URL, kind, score), sorted."""
    view = home.view()
    rows = view.read("documents", ["document_id", "batch_id", "url"]).to_pylist()
    urls = {(row["document_id"], row["batch_id"]): row["url"] for row in rows}
    return sorted(
        (
            urls[row["record_id"], row["record_batch"]],
            urls[row["kept_id"], row["kept_batch"]],
            row["kind"],
            round(row["score"], 3),
        )
        for row in view.read("duplicates").to_pylist()
    )


def words(count: int, start: int = 0) -> list[str]:
    """Distinct made-up words."""
    return [f"w{chr(97 + k % 26)}{chr(97 + k // 26 % 26)}{chr(97 + k // 676)}x" for k in range(start, start + count)]


def edited(text: str, places: Iterable[int]) -> str:
    """Replace the words at some places."""
    found = text.split()
    for place in places:
        found[place] = f"other{chr(97 + place % 26)}{chr(97 + place // 26)}"
    return " ".join(found)
