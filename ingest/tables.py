"""Tables row by row, however large: Parquet, Arrow streams of saved datasets, CSV, JSON Lines, plain or compressed."""

import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, BinaryIO, TypeAlias, cast

import fsspec
import pyarrow as pa
from charset_normalizer import from_bytes
from pyarrow import parquet

from catalog.schema import Reason
from ingest.fetch import Failure
from ingest.inputs import File, open_input
from ingest.settings import NetworkSettings

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv")
HEAD = 64 << 10
BATCH_ROWS = 64  # few, since a row may hold a picture
SAMPLE_ROWS = 100  # of JSON Lines, whose columns nobody declares
DELIMITERS = ",;\t|"

Row: TypeAlias = tuple[int, dict[str, Any] | Failure]  # its number from 0, and its columns

DAMAGE_ERRORS: tuple[type[Exception], ...] = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)  # of packed files
with suppress(ImportError):
    from zstandard import ZstdError

    DAMAGE_ERRORS = (*DAMAGE_ERRORS, ZstdError)


class NotATable(Exception):
    """A file whose structure as a whole cannot be read."""


def column_names(file: File, network: NetworkSettings) -> list[str]:
    """Return the columns of a table; raise NotATable, or one of READ_ERRORS and DAMAGE_ERRORS."""
    match _kind(file.path):
        case "parquet":
            with open_input(file.path, network) as stream, _explained(file):
                return list(parquet.read_schema(stream).names)
        case "arrow":
            with open_input(file.path, network) as stream, _explained(file):
                return list(_open_arrow(stream).schema.names)
        case "csv":
            with _open_text(file, network) as stream:
                return next(_csv_reader(stream, int(network.max_bytes)), [])
        case _:
            return _sampled_names(file, network)


def _sampled_names(file: File, network: NetworkSettings) -> list[str]:
    names: dict[str, None] = {}
    try:
        for _, row in islice(read_rows(file, 0, (), network), SAMPLE_ROWS):
            names |= dict.fromkeys(row if isinstance(row, dict) else ())
    except DAMAGE_ERRORS:
        if not names:
            raise
    return list(names)


def read_rows(file: File, first: int, columns: Sequence[str], network: NetworkSettings) -> Iterator[Row]:
    """Yield the rows from number `first` on, those that cannot be read as Failures; raise NotATable.

    Only `columns` are read where the format allows it (all: none given).
    """
    match _kind(file.path):
        case "parquet":
            yield from _parquet_rows(file, first, columns, network)
        case "arrow":
            yield from _arrow_rows(file, first, columns, network)
        case "csv":
            yield from _csv_rows(file, first, network)
        case _:
            yield from _json_rows(file, first, network)


def _kind(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    found = re.search(r"\.(parquet|arrow|jsonl|ndjson|json|csv|tsv)(\.(gz|bz2|xz|zst))?$", name)
    if found is None:
        raise NotATable(f"{path}: tables are read from {', '.join(SUFFIXES)}")
    return {"tsv": "csv", "jsonl": "json", "ndjson": "json"}.get(found[1], found[1])


class _explained:
    """Turn what pyarrow says of a damaged file into NotATable."""

    def __init__(self, file: File) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, pa.ArrowException) or (isinstance(error, OSError) and error.errno is None):
            raise NotATable(f"{self._file.path}: {' '.join(str(error).split())[:300]}") from error


def _parquet_rows(file: File, first: int, columns: Sequence[str], network: NetworkSettings) -> Iterator[Row]:
    with open_input(file.path, network) as stream:
        with _explained(file):
            table = parquet.ParquetFile(stream, pre_buffer=False)
        start = 0
        for group in range(table.num_row_groups):
            end = start + table.metadata.row_group(group).num_rows
            number = start
            if end > first:
                try:
                    batches = table.iter_batches(BATCH_ROWS, [group], list(columns) or None, use_threads=False)
                    for number, row in _number(file, batches, start):
                        if number >= first:
                            yield number, row
                except (pa.ArrowException, OSError) as error:
                    _raise_if_unreachable(error)
                    yield end - 1, _damaged(file, number + 1, end, error)
            start = end


def _arrow_rows(file: File, first: int, columns: Sequence[str], network: NetworkSettings) -> Iterator[Row]:
    number = first - 1
    with open_input(file.path, network) as stream:
        with _explained(file):
            batches = _open_arrow(stream)
        wanted = [name for name in batches.schema.names if not columns or name in columns]
        try:
            for number, row in _number(file, (batch.select(wanted) for batch in batches), 0):
                if number >= first:
                    yield number, row
        except (pa.ArrowException, OSError) as error:
            _raise_if_unreachable(error)
            yield number + 1, _damaged(file, number + 2, None, error)


def _open_arrow(stream: BinaryIO) -> Any:
    """Open an Arrow stream, as `datasets` saves it, or an Arrow file (Feather)."""
    magic = stream.read(6)
    stream.seek(0)
    if magic != b"ARROW1":
        return pa.ipc.open_stream(stream)
    return pa.RecordBatchReader.from_batches(
        (source := pa.ipc.open_file(stream)).schema, (source.get_batch(i) for i in range(source.num_record_batches))
    )


def _number(file: File, batches: Iterable[pa.RecordBatch], start: int) -> Iterator[Row]:
    number = start
    for batch in batches:
        for offset in range(0, batch.num_rows, BATCH_ROWS):
            for row in _to_rows(batch.slice(offset, BATCH_ROWS)):
                place = f"{file.path}: row {number + 1}"
                yield number, row if isinstance(row, dict) else Failure(Reason.BAD_ROW, f"{place}: {row}"[:400])
                number += 1


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any] | str]:
    """Return rows, or what is wrong with a row: the format does not keep strings from holding what is no UTF-8."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [str(error)]
    return [row for number in range(batch.num_rows) for row in _to_rows(batch.slice(number, 1))]


def _raise_if_unreachable(error: Exception) -> None:
    """Raise what the system says; pyarrow's OSErrors about a file's content have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _damaged(file: File, start: int, end: int | None, error: Exception) -> Failure:
    rows = f"rows {start} to {end}" if end else f"rows from {start} on"
    return Failure(Reason.CORRUPT, f"{file.path}: {rows} cannot be read: {' '.join(str(error).split())[:300]}")


def _csv_rows(file: File, first: int, network: NetworkSettings) -> Iterator[Row]:
    with _open_text(file, network) as stream:
        reader = _csv_reader(stream, int(network.max_bytes))
        names: list[str] = next(reader, [])
        for number, cells in enumerate(_cells(reader)):
            if number < first:
                continue
            if isinstance(cells, list) and len(cells) == len(names):
                yield number, dict(zip(names, cells, strict=True))
            else:
                wrong = cells if isinstance(cells, str) else f"{len(cells)} cells, where the header names {len(names)}"
                yield number, Failure(Reason.BAD_ROW, f"{file.path}: line {reader.line_num}: {wrong}")


def _cells(reader: Any) -> Iterator[list[str] | str]:
    """Yield the rows that hold something, as their cells or as what is wrong with them."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield str(error)
        else:
            if cells:
                yield cells


def _csv_reader(stream: io.TextIOBase, max_bytes: int) -> Any:
    csv.field_size_limit(max_bytes)  # the library's own is 128 KiB, less than many a page
    head = stream.read(HEAD)
    rest = io.StringIO(head)
    first_line = head.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)

    def lines() -> Iterator[str]:
        for line in rest:
            yield line if line.endswith("\n") else line + stream.readline()
        yield from stream

    return csv.reader(lines(), delimiter=delimiter)


@contextmanager
def _open_text(file: File, network: NetworkSettings) -> Iterator[io.TextIOWrapper]:
    """Open text as UTF-8, or in the encoding that its beginning suggests; what cannot be decoded becomes U+FFFD."""
    with _unpacked(file, network) as stream:
        head = stream.read(HEAD)
    try:
        head[: head.rfind(b"\n") + 1].decode("utf-8-sig")
        encoding = "utf-8-sig"
    except UnicodeDecodeError:
        best = from_bytes(head).best()
        encoding = best.encoding if best is not None else "utf-8"
    with (
        _unpacked(file, network) as stream,
        io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="") as text,
    ):
        yield text


@contextmanager
def _unpacked(file: File, network: NetworkSettings) -> Iterator[io.BufferedReader]:
    packing = fsspec.utils.infer_compression(file.path)
    if packing and packing not in fsspec.compression.compr:
        raise NotATable(f"{file.path}: install the Python package that reads {packing}")
    with open_input(file.path, network) as stream:
        if not packing:
            yield cast(io.BufferedReader, stream)
            return
        with fsspec.compression.compr[packing](stream, mode="rb") as unpacked:
            yield unpacked


def _json_rows(file: File, first: int, network: NetworkSettings) -> Iterator[Row]:
    limit = int(network.max_bytes)
    with _unpacked(file, network) as stream:
        number = -1
        while line := stream.readline(limit + 1):
            too_long = len(line) > limit
            while too_long and line and not line.endswith(b"\n"):
                line = stream.readline(limit + 1)
            if not too_long and not line.strip():
                continue
            number += 1
            if number >= first:
                place = f"{file.path}: row {number + 1}"
                yield (
                    number,
                    Failure(Reason.TOO_LARGE, f"{place}: more than {limit} bytes") if too_long else _parse(line, place),
                )


def _parse(line: bytes, place: str) -> dict[str, Any] | Failure:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return Failure(Reason.BAD_ROW, f"{place}: {error}"[:400])
    return row if isinstance(row, dict) else Failure(Reason.BAD_ROW, f"{place}: {type(row).__name__}, not an object")
