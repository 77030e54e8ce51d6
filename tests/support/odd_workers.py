"""Workers that behave in the ways that engines must survive; importable by name in worker processes."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from catalog import schema
from catalog.errors import InputError
from catalog.schema import Reason


def documents(part: pa.Table) -> Mapping[str, pa.Table]:
    """One document for every page."""
    rows = [{"document_id": f"d{i}", "page_id": i, "text": f"text of {i}"} for i in part["page_id"].to_pylist()]
    return {"documents": pa.Table.from_pylist(rows, schema=schema.body("documents"))}


def plain() -> "type[object]":
    """Make the plainest worker: a function."""
    return documents  # type: ignore[return-value]


class RejectAll:
    """Turns every record away."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        rows = [{"record_id": i, "reason": Reason.TIMEOUT.value} for i in part["page_id"].to_pylist()]
        return {"rejects": schema.rejects("extract", rows)}


class FailAt:
    """Raises an error of ours at one record."""

    def __init__(self, record: str) -> None:
        self._record = record

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        if self._record in part["page_id"].to_pylist():
            raise InputError(f"{self._record}: cannot be used; choose another")
        return documents(part)


class BreakAt(FailAt):
    """Has a bug at one record."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        if self._record in part["page_id"].to_pylist():
            raise ZeroDivisionError("a bug")
        return documents(part)


class RefuseToStart:
    """Cannot load its model."""

    def __init__(self) -> None:
        raise InputError("model.bin: cannot be read; reinstall it")

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        return documents(part)


class SleepAt(FailAt):
    """Makes no progress at one record for some seconds."""

    def __init__(self, record: str, seconds: float) -> None:
        super().__init__(record)
        self._seconds = seconds

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        if self._record in part["page_id"].to_pylist():
            time.sleep(self._seconds)
        return documents(part)


class DieOnceAt(FailAt):
    """Is killed at one record, the first time only; a marker file remembers."""

    def __init__(self, record: str, marker: Path) -> None:
        super().__init__(record)
        self._marker = marker

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        if self._record in part["page_id"].to_pylist() and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return documents(part)


class NoteGpus:
    """Says in each document's title which GPUs its process may see."""

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        rows = documents(part)["documents"]
        index = rows.schema.get_field_index("title")
        return {"documents": rows.set_column(index, "title", pa.array([seen] * rows.num_rows, pa.string()))}
