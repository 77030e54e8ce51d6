"""Homes of any size for `benchmarks.scale`: many rows in few batches, or many batches that every stage has consumed."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalog import pipeline, schema
from catalog.home import Home, Input, Plan
from catalog.ids import make_id
from catalog.settings import CatalogSettings, Config, Resources
from catalog.stage import Stage, StageReport

PER_BATCH = 25_000  # pages, and as many documents
EACH = 4  # documents to one with a vector and an example
ROWS_A_PAGE = 2 + 2 / EACH
DIMENSION = 64
FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
WRITES = ("pages", "documents", "text_features", "examples")
STAGE = Stage("crawl", (), WRITES, 1, lambda _: {}, lambda *_: StageReport("crawl"))
WORDS = ["river", "mill", "wheel", "water", "stone", "grain", "sluice", "weir", "race", "pond"]


def url_of(number: int) -> str:
    """Name a page."""
    return f"https://host{number % 997}.example/{number}"


def make_tables(numbers: range) -> dict[str, pa.Table]:
    """Make pages, a document of each, and vectors and examples of some."""
    rng = random.Random(numbers.start)
    urls = [url_of(number) for number in numbers]
    page_ids, ids = [make_id("page", url) for url in urls], [make_id("document", url) for url in urls]
    texts = [" ".join(rng.choices(WORDS, k=40)) + f" {number}" for number in numbers]
    times = pa.array([FETCHED + timedelta(seconds=number) for number in numbers], pa.timestamp("us", "UTC"))
    some = ids[::EACH]
    vectors = np.random.default_rng(numbers.start).standard_normal((len(some), DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    features = {"document_id": pa.array(some), "vector": pa.array(list(vectors), pa.list_(pa.float32()))}
    same = {name: pa.array([value] * len(some)) for name, value in (("model", "synthetic"), ("revision", "1"))}
    common = {"url": pa.array(urls), "fetched_at": times, "page_id": pa.array(page_ids)}
    status_codes = pa.array([200] * len(numbers), schema.TABLES["pages"].field("status").type)
    examples = {
        "example_id": pa.array([make_id("example", one) for one in some]), "document_id": pa.array(some),
        "url": pa.array(urls[::EACH]), "text": pa.array(texts[::EACH]), "split": pa.array(["train"] * len(some)),
    }  # fmt: skip
    return {
        "pages": pa.table({**common, "status": status_codes}),
        "documents": pa.table({**common, "document_id": pa.array(ids), "text": pa.array(texts)}),
        "text_features": pa.table({**features, **same}),
        "examples": pa.table(examples),
    }


def publish(home: Home, numbers: range) -> int:
    """Publish these pages and what belongs to them as one batch; return how many rows they are."""
    report = home.publish_origin(STAGE, f"pages {numbers}", len(numbers), make_tables(numbers), {})
    return sum(report.outputs.values())


def build(root: Path, rows: int) -> tuple[int, int]:
    """Publish about so many rows; return how many there are, and in how many batches."""
    pages = int(rows / ROWS_A_PAGE)
    starts = range(0, pages, PER_BATCH)
    with Home.open(CatalogSettings(root=root)) as home:
        return sum(publish(home, range(start, min(start + PER_BATCH, pages))) for start in starts), len(starts)


def consume(root: Path, batches: int, given: Mapping[str, object]) -> Config:
    """Make a home of so many batches that every stage of a configuration has consumed; no row is worked on."""
    config = Config({"root": str(root), **given})
    with Home.open(config.catalog) as home:
        for number in range(batches):
            home.publish_origin(STAGE, f"empty {number}", 0, {}, {})
        for stage in pipeline.enabled(config):
            if stage.reads:
                home.publish(stage, config, _empty_plans(home, stage, config), partial(_Idle), Resources())
    return config


def _empty_plans(home: Home, stage: Stage, config: Config) -> Iterator[Plan]:
    waiting = home.todo(stage, config)
    groups = [waiting] if stage.joins and waiting else [[batch] for batch in waiting]
    seq = home.ledger.refresh().last_seq
    for group in groups:
        inputs = tuple(Input(batch, 0) for batch in group)
        yield Plan(inputs, schema.TABLES["pages"].empty_table(), "page_id", seq=seq)


class _Idle:
    """A worker that writes nothing."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return {}
