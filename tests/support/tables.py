"""Compare the live rows of two homes that crawled the same site at different times."""

import json
from collections.abc import Set
from typing import Any

from catalog.home import Home
from catalog.schema import TABLES

# what depends on when the site was crawled, and on which of several links came first, not on what the site says
MOMENT = {
    "batch_id",
    "referrer",
    "fetched_at",
    "warc_path",
    "warc_offset",
    "warc_length",
    "document_batch",
    "record_batch",
    "kept_batch",
}
WRITTEN = [name for name in TABLES if name not in ("tombstones", "reviews", "feedback")]


# the last bits of a model's numbers depend on which other rows shared its batch: a killed crawl cuts batches elsewhere
NUMBERS = {"vector", "score", "probability", "avg_logprob", "no_speech_prob"}


def content(home: Home, table: str, skip: Set[str] = frozenset()) -> list[str]:
    """Every live row of a table without the moment of its crawl and the columns to skip, sorted."""
    rows = home.view().read(table).to_pylist()
    skipped = MOMENT | (skip if table in ("image_features", "text_features", "transcripts") else set())
    return sorted(json.dumps(_kept(row, skipped), sort_keys=True, default=str) for row in rows)


def _kept(value: Any, skip: Set[str]) -> Any:
    """Leave columns, and fields of structs in them, out."""
    if isinstance(value, dict):
        return {name: _kept(item, skip) for name, item in value.items() if name not in skip}
    if isinstance(value, list):
        return [_kept(item, skip) for item in value]
    return value.hex() if isinstance(value, bytes) else value


def contents(home: Home, skip: Set[str] = frozenset()) -> dict[str, list[str]]:
    """The content of every table that stages write."""
    return {table: content(home, table, skip) for table in WRITTEN}


def vectors(home: Home) -> dict[str, list[float]]:
    """Every live vector, and the tag scores of every picture, by the id of what they describe."""
    view = home.view()
    found = {}
    for table, column in (("image_features", "media_id"), ("text_features", "document_id")):
        rows = view.read(table, [column, "vector"])
        found |= dict(zip(rows[column].to_pylist(), rows["vector"].to_pylist(), strict=True))
    for row in view.read("image_features", ["media_id", "tags"]).to_pylist():
        found["tags of " + row["media_id"]] = [tag["score"] for tag in row["tags"]]
    return found
