"""A scratch home whose documents come from a benchmark and whose dedup stage is the real one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from benchmarks.neardup import Document
from catalog import pipeline, schema
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
    return StageReport("")


CRAWL = Stage("crawl", (), ("pages",), 1, lambda _: {}, _nothing)
EXTRACT = Stage("extract", ("crawl",), ("documents",), 1, lambda _: {}, _nothing)
STAGES = {stage.name: stage for stage in (CRAWL, EXTRACT, DEDUP)}


@contextmanager
def opened(root: Path) -> Iterator[tuple[Home, Config]]:
    """Open a home with the cheap stages in front of dedup."""
    pipeline.stages = lambda: STAGES  # type: ignore[assignment]
    config = Config({"root": str(root), "engine": "local"})
    with Home.open(config.catalog) as home:
        yield home, config


def put(home: Home, config: Config, documents: Sequence[Document], second: int) -> None:
    """Publish documents as one extract batch, fetched one a second."""
    home.publish_origin(CRAWL, str(second), 0, {"pages": schema.body("pages").empty_table()}, {})
    *_, batch = home.todo(EXTRACT, config)
    rows = [
        {
            "document_id": document_id(item.id, text_sha256(item.text)),
            "page_id": item.id,
            "url": item.id,
            "fetched_at": DAY + timedelta(seconds=second + k),
            "title": item.title,
            "text": item.text,
            "text_sha256": text_sha256(item.text),
        }
        for k, item in enumerate(documents)
    ]
    table = pa.Table.from_pylist(rows, schema=schema.body("documents"))
    plan = Plan((Input(batch, len(rows)),), table, "document_id")
    home.publish(EXTRACT, config, [plan], _Pass, Resources())


def dedup(home: Home, config: Config) -> list[tuple[str, str]]:
    """Run the stage; return its decisions as pairs of the documents' ids."""
    DEDUP.run(home, config)
    view = home.view()
    rows = view.read("duplicates", ["record_id", "kept_id"])
    known = view.lookup(
        "documents", "document_id", {*rows[0].to_pylist(), *rows[1].to_pylist()}, ["document_id", "url"]
    )
    urls = dict(zip(*(known[name].to_pylist() for name in ("document_id", "url")), strict=True))
    return [(urls[row["record_id"]], urls[row["kept_id"]]) for row in rows.to_pylist()]
