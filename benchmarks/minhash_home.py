"""A scratch home whose documents come from a benchmark and whose dedup stage is the real one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.neardup import Document
from catalog import pipeline, schema
from catalog.dedup import DEDUP
from catalog.home import Home, Input, Plan
from catalog.ids import document_id, text_sha256
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport

DAY = datetime(2026, 1, 1, tzinfo=UTC)


class _Pass:
    def __init__(self, table: str) -> None:
        self._table = table

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return {self._table: part}


def _nothing(home: Home, config: Config) -> StageReport:
    return StageReport("")


CRAWL = Stage("crawl", (), ("pages",), 1, lambda _: {}, _nothing)
EXTRACT = Stage("extract", ("crawl",), ("documents",), 1, lambda _: {}, _nothing)
EMBED = Stage("embed", ("extract",), ("text_features",), 1, lambda _: {}, _nothing)
STAGES = {stage.name: stage for stage in (CRAWL, EXTRACT, EMBED, DEDUP)}


@contextmanager
def opened(root: Path, with_vectors: bool = False, **dedup: object) -> Iterator[tuple[Home, Config]]:
    """Open a home with the cheap stages in front of dedup, which has these settings."""
    pipeline.stages = lambda: STAGES  # type: ignore[assignment]
    stages = ["crawl", "extract", *(["embed"] if with_vectors else []), "dedup"]
    config = Config({"root": str(root), "engine": "local", "stages": stages, "dedup": dedup})
    with Home.open(config.catalog) as home:
        yield home, config


def put(
    home: Home, config: Config, documents: Sequence[Document], second: int, vectors: NDArray[np.float32] | None = None
) -> None:
    """Publish documents as one extract batch, fetched one a second, and their sentence vectors [documents, D]."""
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
    home.publish(EXTRACT, config, [plan], partial(_Pass, "documents"), Resources())
    if vectors is None:
        return
    *_, batch = home.todo(EMBED, config)
    made_by = pa.array(["given"] * len(rows))
    features = pa.table(
        {
            "document_id": table["document_id"],
            "vector": pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * vectors.shape[1],
                                               vectors.reshape(-1)),
            "model": made_by,
            "revision": made_by,
        },
        schema=schema.body("text_features"),
    )  # fmt: skip
    plan = Plan((Input(batch, len(rows)),), features, "document_id", part_rows=10_000)
    home.publish(EMBED, config, [plan], partial(_Pass, "text_features"), Resources())


def dedup(home: Home, config: Config) -> None:
    """Run the stage, as `headrace dedup` does."""
    DEDUP.run(home, config)


def pairs_of(home: Home) -> list[tuple[str, str]]:
    """Return all decisions of a home as pairs of the documents' ids."""
    view = home.view()
    rows = view.read("duplicates", ["record_id", "kept_id", "state"])
    rows = rows.filter(pa.compute.not_equal(rows["state"], "proposed"))
    known = view.lookup(
        "documents", "document_id", {*rows[0].to_pylist(), *rows[1].to_pylist()}, ["document_id", "url"]
    )
    urls = dict(zip(*(known[name].to_pylist() for name in ("document_id", "url")), strict=True))
    return [(urls[row["record_id"]], urls[row["kept_id"]]) for row in rows.to_pylist()]
