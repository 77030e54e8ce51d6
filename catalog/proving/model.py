"""A model of the hub, written from its contract in prose and sharing no code with it: slow, plain, for comparison."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from catalog import pipeline
from catalog.ledger import Row
from catalog.proving import toychain
from catalog.shards import conform

MADE = ("crawl", "extract", "embed", "fuse")  # the stages that write rows which follow from their origins


def live_batches(rows: Sequence[Row]) -> set[str]:
    """Tell which batches readers see, by replaying the ledger row by row.

    For each stage and origin, the live batches are those of the most recently activated recipe that has published for
    it; a batch that a `revoke` names is off until an `activate` names it again.
    """
    published: list[Row] = []
    off: set[str] = set()
    order: list[tuple[str, str]] = []  # (stage, recipe), the most recently activated last
    for row in sorted(rows, key=lambda row: row.seq):
        if row.kind == "publish":
            published.append(row)
        elif row.kind == "revoke":
            off |= set(row.targets)
        elif row.kind == "activate":
            off -= set(row.targets)
            if row.settings_hash:
                mark = (row.stage, row.settings_hash)
                order = [one for one in order if one != mark] + [mark]
    on = [row for row in published if row.batch_id not in off]
    found: set[str] = set()
    for stage, origin in {(row.stage, origin) for row in on for origin in row.origins}:
        here = [row for row in on if row.stage == stage and origin in row.origins]
        known = [recipe for name, recipe in order if name == stage and any(row.settings_hash == recipe for row in here)]
        wanted = {known[-1]} if known else {row.settings_hash for row in here}
        found |= {row.batch_id for row in here if row.settings_hash in wanted}
    return found


def toy_rows(rows: Iterable[Row], origins: Mapping[str, int], gone: Collection[str] = ()) -> dict[str, pa.Table]:
    """Compute from scratch what the toy chain's batches hold, given the number of each origin batch.

    `gone` are the URLs that were taken down.
    """
    made: dict[str, list[pa.Table]] = {}
    flavours = {
        pipeline.recipe(stage, toychain.make_config(Path("unused"), flavour)): flavour
        for stage in (toychain.EXTRACT, toychain.EMBED, toychain.FUSE)
        for flavour in "AB"
    }
    for row in rows:
        if row.stage not in MADE:
            continue
        pages = pa.concat_tables(toychain.page_rows(origins[origin]) for origin in row.origins)
        pages = pages.filter(pa.array([url not in gone for url in pages["url"].to_pylist()], pa.bool_()))
        if row.stage == "crawl":
            outputs = {"pages": pages}
        else:
            outputs = dict(toychain.Extract(flavours[row.settings_hash])(pages))
            documents = outputs["documents"]
            if row.stage == "embed":
                outputs = dict(toychain.Embed()(documents))
            elif row.stage == "fuse":
                outputs = dict(toychain.Fuse()(documents))
        for table, output in outputs.items():
            made.setdefault(table, []).append(conform(table, output, row.batch_id))
    return {table: pa.concat_tables(pieces) for table, pieces in made.items()}
