"""What the workers of embed and transcribe share: reading a medium, naming what was turned away, building tables."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from catalog import schema
from catalog.models import Weights, remedy
from catalog.schema import Reason
from catalog.settings import Resources
from catalog.warc import read_payload
from multimodal.decode import Reject

Row: TypeAlias = dict[str, Any]
Tables: TypeAlias = Mapping[str, pa.Table]


def as_tables(stage: str, pieces: Sequence[dict[str, list[Row]]]) -> Tables:
    """Turn rows by table name into tables; an empty list gives none."""
    rows: dict[str, list[Row]] = {}
    for piece in pieces:
        for name, found in piece.items():
            rows.setdefault(name, []).extend(found)
    tables = {
        name: pa.Table.from_pylist(found, schema=schema.body(name))
        for name, found in rows.items()
        if found and name != "rejects"
    }
    return tables | {"rejects": schema.rejects(stage, rows.get("rejects", []))}


def read_medium(warehouse: str, row: Row, max_bytes: int) -> bytes:
    """Return the bytes that a row's locator names; raise Corrupt if they cannot be had."""
    return read_payload(warehouse, row["warc_path"], row["warc_offset"], row["warc_length"], max_bytes)


def rejected(row: Row, reject: Reject) -> Row:
    """Return a `rejects` row."""
    return {"record_id": row["record_id"], "url": row["url"], "reason": reject.reason.value, "detail": reject.detail}


def no_model(row: Row, weights: Weights) -> Row:
    """Return the `rejects` row of what waits for weights."""
    return rejected(row, Reject(Reason.NO_MODEL, remedy(weights.task, weights.name)))


def num_threads(resources: Resources) -> int:
    """Count the threads that a worker of these resources computes on."""
    return max(1, int(resources.cpus))


def device_name(resources: Resources) -> str:
    """Name the torch device of a worker of these resources."""
    return "cuda" if resources.gpus > 0 else "cpu"
