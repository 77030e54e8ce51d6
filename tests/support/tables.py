"""Compare the live rows of two homes that crawled the same site at different times."""

import json
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


def content(home: Home, table: str) -> list[str]:
    """Every live row of a table without the moment of its crawl, sorted."""
    rows = home.view().read(table).to_pylist()
    return sorted(json.dumps(_without_moment(row), sort_keys=True, default=str) for row in rows)


def _without_moment(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in row.items() if name not in MOMENT
    }


def contents(home: Home) -> dict[str, list[str]]:
    """The content of every table that stages write."""
    return {table: content(home, table) for table in WRITTEN}
