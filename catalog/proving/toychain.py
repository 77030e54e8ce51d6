"""The hub's real publishing chain with cheap stages: no models, every commit step.

Three one-to-one stages with several tables, a joining stage and an origin, under the names of the real ones.
Run as a module, it is one driver: `python -m catalog.proving.toychain ROOT FIRST-LAST [ENGINE]` publishes origins and
runs every stage.
"""

import hashlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa

from catalog import pipeline, schema
from catalog.errors import CommitConflict
from catalog.home import Home, Input, Plan
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport
from catalog.tombstones import Forgotten

PER_ORIGIN = 7
FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
RESOURCES = Resources(cpus=1.0)
MODEL, REVISION = "toy", "1"  # of the vectors


def page_rows(origin: int) -> pa.Table:
    """Make the pages of one origin batch."""
    rows = [
        {
            "page_id": hashlib.sha256(f"{origin}/{k}".encode()).hexdigest()[:32],
            "url": f"http://t/{origin}/{k}",
            "fetched_at": FETCHED,
        }
        for k in range(PER_ORIGIN)
    ]
    return pa.Table.from_pylist(rows, schema=schema.body("pages"))


class Extract:
    """Every page gives a document, every third also a medium; every seventh is rejected."""

    def __init__(self, flavour: str) -> None:
        self._flavour = flavour

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        documents, media, rejected = [], [], []
        for row in part.to_pylist():
            number = int(row["page_id"][:8], 16)
            if number % 7 == 0:
                rejected.append(
                    {"record_id": row["page_id"], "url": row["url"], "reason": schema.Reason.EMPTY_TEXT.value}
                )
                continue
            text = f"{self._flavour} text of {row['url']}"
            documents.append(
                {
                    "document_id": row["page_id"],
                    "page_id": row["page_id"],
                    "url": row["url"],
                    "text": text,
                    "fetched_at": row["fetched_at"],
                }
            )
            if number % 3 == 0:
                media.append(
                    {
                        "media_id": "m" + row["page_id"],
                        "page_id": row["page_id"],
                        "url": row["url"] + ".png",
                        "kind": "image",
                    }
                )
        return {
            "documents": pa.Table.from_pylist(documents, schema=schema.body("documents")),
            "media": pa.Table.from_pylist(media, schema=schema.body("media")),
            "rejects": schema.rejects("extract", rejected),
        }


class Embed:
    """Every document gets a vector that depends on its text alone."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        rows = [
            {
                "document_id": row["document_id"],
                "vector": [float(b) for b in hashlib.sha256(row["text"].encode()).digest()[:4]],
                "model": MODEL,
                "revision": REVISION,
            }
            for row in part.to_pylist()
        ]
        return {"text_features": pa.Table.from_pylist(rows, schema=schema.body("text_features"))}


class Fuse:
    """Every document becomes an example; used as a joining stage here."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        rows = [
            {
                "example_id": "e" + row["document_id"],
                "document_id": row["document_id"],
                "url": row["url"],
                "text": row["text"],
            }
            for row in part.to_pylist()
        ]
        return {"examples": pa.Table.from_pylist(rows, schema=schema.body("examples"))}


def _flavour(config: Config) -> dict[str, object]:
    return {"flavour": getattr(config, "flavour", "A")}


def run_extract(home: Home, config: Config) -> StageReport:
    """Run the extract stage."""
    flavour = str(_flavour(config)["flavour"])
    view = home.view()
    plans = (
        Plan((Input(batch, rows.num_rows),), rows, "page_id", part_rows=3)
        for batch in home.todo(EXTRACT, config)
        for rows in [view.read("pages", batches=[batch.batch_id])]
    )
    return home.publish(EXTRACT, config, plans, partial(Extract, flavour), config.resources("extract", RESOURCES))


def run_embed(home: Home, config: Config) -> StageReport:
    """Run the embed stage."""
    view = home.view()
    plans = (
        Plan((Input(batch, rows.num_rows),), rows, "document_id", part_rows=4)
        for batch in home.todo(EMBED, config)
        for rows in [view.read("documents", batches=[batch.batch_id])]
    )
    return home.publish(EMBED, config, plans, Embed, config.resources("embed", RESOURCES))


def run_fuse(home: Home, config: Config) -> StageReport:
    """Run the fuse stage."""
    view = home.view()
    batches = home.todo(FUSE, config)
    if not batches:
        return StageReport("fuse")
    counts = [view.read("documents", ["document_id"], [batch.batch_id]).num_rows for batch in batches]
    rows = view.read("documents", batches=[batch.batch_id for batch in batches])
    plan = Plan(
        tuple(Input(batch, n) for batch, n in zip(batches, counts, strict=True)), rows, "document_id", part_rows=5
    )
    try:
        return home.publish(FUSE, config, [plan], Fuse, config.resources("fuse", RESOURCES))
    except CommitConflict:
        return run_fuse(home, config)


def run_crawl(home: Home, config: Config) -> StageReport:
    """Do nothing: origins are published by `run_crawl_of`."""
    return StageReport("crawl")


def run_crawl_of(home: Home, origin: int) -> StageReport:
    """Publish the pages of one origin batch, those excepted that were taken down."""
    forgotten = Forgotten.of(home)
    pages = page_rows(origin)
    pages = pages.filter(pa.array([not forgotten.url(url) for url in pages["url"].to_pylist()], pa.bool_()))
    return home.publish_origin(CRAWL, f"segment-{origin}", pages.num_rows, {"pages": pages}, {})


PAGE_TRACES = {"documents": "page_id", "media": "page_id"}
CRAWL = Stage("crawl", (), ("pages",), 1, lambda _: {}, run_crawl)
EXTRACT = Stage("extract", ("crawl",), ("documents", "media"), 1, _flavour, run_extract, traces=PAGE_TRACES)
EMBED = Stage(
    "embed", ("extract",), ("text_features",), 1, lambda _: {}, run_embed, traces={"text_features": "document_id"}
)
FUSE = Stage("fuse", ("extract",), ("examples",), 1, lambda _: {}, run_fuse, waits_for=("embed",), joins=True)
STAGES = {stage.name: stage for stage in (CRAWL, EXTRACT, EMBED, FUSE)}


def install() -> None:
    """Put the cheap stages in the place of the installed ones, in this process."""
    pipeline.stages = lambda: STAGES  # type: ignore[assignment]


def make_config(root: Path, flavour: str = "A", engine: str = "local", workers: int = 1, **more: object) -> Config:
    """Return a configuration whose extract stage has flavour A or B."""
    resources = {name: {"workers": workers} for name in ("extract", "embed", "fuse")}
    return FlavouredConfig({"root": str(root), "engine": engine, "resources": resources, **more}, flavour)


class FlavouredConfig(Config):
    """A configuration with one setting that changes results."""

    def __init__(self, given: Mapping[str, object], flavour: str) -> None:
        super().__init__(given)
        self.flavour = flavour


def drive(root: Path, origins: range, flavour: str = "A", engine: str = "local", workers: int = 1) -> Home:
    """Publish the origins and run every stage once."""
    config = make_config(root, flavour, engine, workers)
    home = Home.open(config.catalog)
    for origin in origins:
        run_crawl_of(home, origin)
    for stage in (EXTRACT, EMBED, FUSE):
        stage.run(home, config)
    return home


if __name__ == "__main__":
    install()
    first, last = sys.argv[2].split("-")
    drive(Path(sys.argv[1]), range(int(first), int(last)), engine=sys.argv[3] if len(sys.argv) > 3 else "local")
