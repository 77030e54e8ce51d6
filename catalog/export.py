"""Write the current examples out: in order of their ids, byte-identical for the same snapshot, manifest last."""

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files, sql
from catalog.errors import Corrupt, InputError
from catalog.home import Home, View
from catalog.schema import TABLES
from catalog.warc import read_payload

if TYPE_CHECKING:
    from rich.console import Console

Format: TypeAlias = Literal["jsonl", "parquet", "webdataset"]
FILE_ROWS = {"jsonl": 10_000, "parquet": 10_000, "webdataset": 1_000}  # one file is held in memory
FETCH_ROWS = 1_000
MAX_PAYLOAD = 1 << 30  # where a media row does not say how many bytes it has
SUFFIXES = {
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-wav": "wav",
    "application/ogg": "ogg",
    "image/avif": "avif",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/webp": "webp",
}  # fmt: skip — the system's table of media types differs between machines


@dataclass(frozen=True)
class Written:
    """One exported file."""

    name: str
    rows: int
    bytes: int
    sha256: str


def current_examples(home: Home, where: str | None = None) -> pa.Table:
    """Return the newest live example of each document that is neither a duplicate nor superseded, by example id."""
    return pa.concat_tables([TABLES["examples"].empty_table(), *_pieces(home.view(), where)])


def export(
    home: Home, file_format: Format, output: Path, where: str | None = None, at: int | None = None
) -> dict[str, Any]:
    """Write the examples that are, or at a `seq` were, current and meet `where` into a new or empty folder.

    Return the manifest and the place.
    """
    _prepare(output)
    view = home.view(at)
    licences: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    missing: list[dict[str, str]] = []
    writers: dict[Format, Callable[[pa.Table], bytes]] = {
        "jsonl": _jsonl,
        "parquet": _parquet,
        "webdataset": lambda rows: _webdataset(home.warehouse, view, rows, missing),
    }
    written = []
    for number, rows in enumerate(_files(view, where, FILE_ROWS[file_format])):
        licences.update(value or "unknown" for value in rows["licence"].to_pylist())
        sources.update(value or "unknown" for value in rows["source"].to_pylist())
        name = f"examples-{number:06d}.{'tar' if file_format == 'webdataset' else file_format}"
        written.append(_write(output / name, writers[file_format](rows), rows.num_rows))
    manifest = {
        "seq": view.seq,
        "format": file_format,
        "where": where,
        "rows": sum(file.rows for file in written),
        "files": [asdict(file) for file in written],
        "licences": dict(sorted(licences.items())),
        "sources": dict(sorted(sources.items())),
        "missing_media": missing,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    _write(output / "manifest.json", text.encode(), 0)
    return {"output": str(output), **manifest}


def _prepare(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be created: {error.strerror}; choose another folder") from error
    if any(output.iterdir()):
        raise InputError(f"--output {output}: the folder is not empty; choose a new or empty one")


def _pieces(view: View, where: str | None) -> Iterator[pa.Table]:
    condition = f" WHERE ({where}\n)" if where else ""  # a new line ends a comment in the condition
    text = f"SELECT * FROM current_examples{condition} ORDER BY example_id"  # noqa: S608 — checked to be one SELECT
    with sql.connect(view, {"current_examples", *sql.mentioned(text)}) as db:
        try:
            sql.check_select(db, text)
            for batch in db.sql(text).to_arrow_reader(FETCH_ROWS):
                yield pa.Table.from_batches([batch]).cast(TABLES["examples"])
        except (duckdb.Error, InputError) as error:
            if where is None:
                raise Corrupt(f"table examples: {error}; run headrace doctor") from error
            said = sql.explain(error) if isinstance(error, duckdb.Error) else str(error)
            raise InputError(f"--where {where!r}: {said}") from error


def _files(view: View, where: str | None, rows: int) -> Iterator[pa.Table]:
    """Cut the examples into tables of exactly `rows` rows, the last one shorter; none at all give one empty table."""
    held = TABLES["examples"].empty_table()
    number = 0
    for piece in _pieces(view, where):
        held = pa.concat_tables([held, piece])
        while held.num_rows >= rows:
            yield held.slice(0, rows).combine_chunks()
            held, number = held.slice(rows), number + 1
    if held.num_rows or not number:
        yield held.combine_chunks()


def _write(path: Path, data: bytes, rows: int) -> Written:
    try:
        files.replace(str(path), data)
    except OSError as error:
        raise InputError(f"--output {path.parent}: {path.name} cannot be written: {error.strerror}") from error
    return Written(path.name, rows, len(data), hashlib.sha256(data).hexdigest())


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps(sql.jsonable(row), ensure_ascii=False).encode("utf-8", "replace")


def _jsonl(rows: pa.Table) -> bytes:
    return b"".join(_json(row) + b"\n" for row in rows.to_pylist())


def _parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def _webdataset(warehouse: str, view: View, rows: pa.Table, missing: list[dict[str, str]]) -> bytes:
    """Make one tar: of each sample its json, its text and its media, which are `<key>.<number>.<suffix>`."""
    records = rows.to_pylist()
    wanted = {media for row in records for media in _media_ids(row)}
    known = _media_rows(view, wanted)
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row in records:
            key = row["example_id"]
            members = []
            for number, media in enumerate(_media_ids(row)):
                try:
                    payload, suffix = _payload(warehouse, known.get(media), media)
                except Corrupt as error:
                    missing.append({"example_id": key, "media_id": media, "detail": str(error)})
                    continue
                members.append((f"{key}.{number}.{suffix}", payload, media))
            described = {**row, "media": {name: media for name, _, media in members}}
            _add(tar, f"{key}.json", _json(described))
            _add(tar, f"{key}.txt", (row["text"] or "").encode("utf-8", "replace"))
            for name, payload, _ in members:
                _add(tar, name, payload)
    return sink.getvalue()


def _media_ids(row: dict[str, Any]) -> list[str]:
    """Return a sample's media in the order of their segments, each once."""
    kinds = ("image", "audio")
    return list(dict.fromkeys(s["ref_id"] for s in row["segments"] or () if s["kind"] in kinds and s["ref_id"]))


def _media_rows(view: View, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Return one row of each medium: the same one whatever order the tables give them in."""
    rows = view.lookup("media", "media_id", wanted).to_pylist()
    rows.sort(key=lambda row: (row["media_id"], row["url"] or "", row["batch_id"]), reverse=True)
    return {row["media_id"]: row for row in rows}


def _payload(warehouse: str, row: dict[str, Any] | None, media: str) -> tuple[bytes, str]:
    """Read a medium's bytes from its WARC record and check them against its id, their SHA-256; raise Corrupt."""
    if row is None:
        raise Corrupt(f"media {media}: no live row")
    limit = row["num_bytes"] or MAX_PAYLOAD
    payload = read_payload(warehouse, row["warc_path"], row["warc_offset"], row["warc_length"], limit)
    if hashlib.sha256(payload).hexdigest() != media:
        raise Corrupt(f"media {media}: the WARC record at {row['warc_offset']} of {row['warc_path']} holds other bytes")
    return payload, SUFFIXES.get((row["content_type"] or "").partition(";")[0].strip().lower(), "bin")


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time stay fixed, for identical bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def render(result: dict[str, Any], console: "Console") -> None:
    """Print what was written where, under which licences, and which media could not be read."""
    count = len(result["files"])
    line = f"{result['rows']:,} examples in {count} file{'s' if count != 1 else ''} → {result['output']}"
    console.print(f"{line} (ledger at {result['seq']})", highlight=False, markup=False)
    for name in ("licences", "sources"):
        counts = ", ".join(f"{value} {rows:,}" for value, rows in result[name].items())
        console.print(f"{name}: {counts or 'none'}", highlight=False, markup=False)
    for item in result["missing_media"]:
        console.print(f"left out of {item['example_id']}: {item['detail']}", highlight=False, markup=False)
