"""Write the current examples out: in order of their ids, byte-identical for the same snapshot, manifest last."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from catalog import files, sql
from catalog.card import Tally, card, plots
from catalog.croissant import croissant
from catalog.errors import Corrupt, InputError
from catalog.formats import Media, to_huggingface, to_jsonl, to_parquet, to_webdataset
from catalog.home import Home, View
from catalog.schema import TABLES
from catalog.spill import in_order

if TYPE_CHECKING:
    from rich.console import Console

Format: TypeAlias = Literal["jsonl", "parquet", "webdataset", "huggingface"]
SUFFIXES: dict[Format, str] = {
    "jsonl": "jsonl", "parquet": "parquet", "webdataset": "tar", "huggingface": "parquet",
}  # fmt: skip
# One file is held in memory, twice while it is made; the last two carry their pictures and recordings.
FILE_ROWS: dict[Format, int] = {"jsonl": 10_000, "parquet": 10_000, "webdataset": 1_000, "huggingface": 1_000}
WITH_MEDIA: frozenset[Format] = frozenset({"webdataset", "huggingface"})
FILE_BYTES = 1 << 28  # of texts and media in one file; a single example may have more
FETCH_ROWS = 1_000


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

    Beside them stand a data card with plots, Croissant metadata, and last a manifest of all files. Return the manifest
    and the place.
    """
    _prepare(output)
    view = home.view(at)
    media = Media(home.warehouse, view)
    writers: dict[Format, Callable[[pa.Table], bytes]] = {
        "jsonl": to_jsonl,
        "parquet": to_parquet,
        "webdataset": lambda rows: to_webdataset(rows, media),
        "huggingface": lambda rows: to_huggingface(rows, media),
    }
    tally = Tally()
    written = []
    for name, rows in _named(view, where, file_format, media):
        tally.add(rows)
        written.append(_write(output, name, writers[file_format](rows), rows.num_rows))
    manifest = {
        "seq": view.seq,
        "format": file_format,
        "where": where,
        "rows": tally.rows,
        "licences": tally.counts("licence"),
        "sources": tally.counts("source"),
        "missing_media": media.missing,
    }
    time = max((row.time for row in view.state.rows), default=None)
    described = {"date": time.date().isoformat() if time else None, **manifest}
    beside = {name: picture.encode() for name, picture in plots(tally).items()}
    beside["croissant.json"] = croissant(described, tally, [(file.name, file.bytes, file.sha256) for file in written])
    beside["README.md"] = card(described, tally, list(beside)).encode()
    written += [_write(output, name, data, 0) for name, data in sorted(beside.items())]
    manifest["files"] = [asdict(file) for file in written]
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    _write(output, "manifest.json", text.encode(), 0)
    return {"output": str(output), **manifest}


def _prepare(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be created: {error.strerror}; choose another folder") from error
    if any(output.iterdir()):
        raise InputError(f"--output {output}: the folder is not empty; choose a new or empty one")


def _pieces(view: View, where: str | None, split: str | None = None) -> Iterator[pa.Table]:
    chosen = " WHERE split = '" + split.replace("'", "''") + "'" if split is not None else ""
    # a new line ends a comment in the condition, and what follows it refuses a LIMIT
    condition = f" WHERE ({where}\n) AND example_id IS NOT NULL" if where else ""
    # checked below to be one SELECT
    text = f"SELECT * FROM (SELECT * FROM current_examples{chosen}){condition}"  # noqa: S608
    with sql.connect(view, {"current_examples", *sql.mentioned(text)}) as db:
        try:
            sql.check_select(db, text)
            batches = (pa.Table.from_batches([batch]) for batch in db.sql(text).to_arrow_reader(FETCH_ROWS))
            for rows in in_order((rows.cast(TABLES["examples"]) for rows in batches), "example_id"):
                yield from (rows.slice(start, FETCH_ROWS) for start in range(0, rows.num_rows, FETCH_ROWS))
        except (duckdb.Error, InputError) as error:
            if where is None:
                raise Corrupt(f"table examples: {error}; run headrace doctor") from error
            said = sql.explain(error) if isinstance(error, duckdb.Error) else str(error)
            raise InputError(f"--where {where!r}: {said}") from error


def _named(view: View, where: str | None, file_format: Format, media: Media) -> Iterator[tuple[str, pa.Table]]:
    """Cut the examples into files: by split where the layout asks for it, else one after the other."""

    def weigh(rows: pa.Table) -> list[int]:
        texts = [length or 0 for length in pc.binary_length(rows["text"]).to_pylist()]
        if file_format not in WITH_MEDIA:
            return texts
        return [text + shown for text, shown in zip(texts, media.sizes(rows["segments"].to_pylist()), strict=True)]

    rows, suffix = FILE_ROWS[file_format], SUFFIXES[file_format]
    if file_format != "huggingface":
        for number, table in enumerate(_files(_pieces(view, where), rows, weigh)):
            yield f"examples-{number:06d}.{suffix}", table
        return
    for split in _splits(view) or [None]:
        for number, table in enumerate(_files(_pieces(view, where, split), rows, weigh)):
            if table.num_rows or split is None:
                yield f"data/{split or 'train'}-{number:05d}.{suffix}", table


def _splits(view: View) -> list[str | None]:
    with sql.connect(view, {"current_examples"}) as db, sql.reading("examples"):
        return [row[0] for row in db.execute("SELECT DISTINCT split FROM current_examples ORDER BY 1").fetchall()]


def _files(pieces: Iterator[pa.Table], rows: int, weigh: Callable[[pa.Table], list[int]]) -> Iterator[pa.Table]:
    """Cut the examples into tables of `rows` rows, fewer where they are heavy or the last; none give an empty one."""
    waiting = [TABLES["examples"].empty_table()]
    count = weight = number = 0
    for piece in pieces:
        start = 0
        for at, size in enumerate(weigh(piece)):
            if count and (count == rows or weight + size > FILE_BYTES):
                yield pa.concat_tables([*waiting, piece.slice(start, at - start)]).combine_chunks()
                waiting, start, count, weight, number = [], at, 0, 0, number + 1
            count, weight = count + 1, weight + size
        waiting.append(piece.slice(start))
    if count or not number:
        yield pa.concat_tables(waiting).combine_chunks()


def _write(folder: Path, name: str, data: bytes, rows: int) -> Written:
    try:
        (folder / name).parent.mkdir(exist_ok=True)
        files.replace(str(folder / name), data)
    except OSError as error:
        raise InputError(f"--output {folder}: {name} cannot be written: {error.strerror}") from error
    return Written(name, rows, len(data), hashlib.sha256(data).hexdigest())


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
