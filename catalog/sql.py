"""SQL over what is live: DuckDB reads the planned files of each table, semi-joined with the live batches."""

import base64
import difflib
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any
from uuid import UUID

import duckdb
import pyarrow as pa

from catalog import files
from catalog.errors import Corrupt, InputError
from catalog.home import Home, View
from catalog.ledger import Row, to_table
from catalog.schema import TABLES

if TYPE_CHECKING:
    from rich.console import Console

# A record that was set aside: as `catalog.decisions.known` says it of decisions and of what stewards said of them.
DERIVED: dict[str, str] = {
    "discarded": """
        WITH said AS (
            SELECT subject_id, other_id, arg_max(verdict, (seq, review_id)) AS verdict
            FROM reviews JOIN live USING (batch_id) WHERE other_id IS NOT NULL GROUP BY ALL
        ), told AS (
            SELECT record_id, record_batch, kind, kind <> 'kept' AS decision, coalesce(verdict, '') AS verdict,
                   coalesce(state, '') = 'proposed' AS proposed, coalesce(method, '') = 'review' AS by_review
            FROM duplicates LEFT JOIN said ON subject_id = record_id AND other_id = kept_id
        )
        SELECT record_id, record_batch FROM told GROUP BY ALL
        HAVING bool_or(kind = 'superseded') OR bool_or(decision AND verdict = 'duplicate')
            OR bool_or(decision AND NOT proposed AND verdict <> 'distinct')
            AND NOT bool_or(kind = 'kept' AND NOT by_review)
            AND NOT (bool_or(kind = 'kept' AND by_review) AND bool_or(decision AND verdict = 'distinct'))""",
    "current_documents": """
        SELECT * FROM documents ANTI JOIN discarded
        ON discarded.record_id = documents.document_id AND discarded.record_batch = documents.batch_id""",
    "current_media": """
        SELECT * FROM media ANTI JOIN discarded
        ON discarded.record_id = media.media_id AND discarded.record_batch = media.batch_id""",
    "current_examples": """
        SELECT * FROM examples SEMI JOIN (
            SELECT example_id, batch_id FROM examples JOIN live USING (batch_id) ANTI JOIN discarded
            ON discarded.record_id = examples.document_id AND discarded.record_batch = examples.document_batch
            QUALIFY rank() OVER (PARTITION BY document_id ORDER BY seq DESC) = 1
        ) newest USING (example_id, batch_id)""",
}
READS: dict[str, tuple[str, ...]] = {
    "discarded": ("duplicates", "reviews"),
    "current_documents": ("documents", "duplicates", "reviews"),
    "current_media": ("media", "duplicates", "reviews"),
    "current_examples": ("examples", "duplicates", "reviews"),
}
LIVE = pa.schema([("batch_id", pa.string()), ("seq", pa.int64())])
VIEWS = ("batches", *TABLES, *DERIVED)
NO_TABLE = re.compile(r"Table with name (\S+) does not exist")
OVERVIEW = re.compile(r"\b(show|information_schema|duckdb_\w+|pragma_\w+)\b", re.IGNORECASE)


def query(home: Home, sql: str, at: int | None = None) -> dict[str, Any]:
    """Run one SELECT over the rows that are, or at a `seq` were, live; raise InputError for anything but a SELECT."""
    with connect(home.view(at), mentioned(sql)) as db:
        check_select(db, sql)
        try:
            found = db.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(explain(error)) from error
    names = _distinct(found.column_names)
    try:
        rows = found.rename_columns(names).to_pylist()
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"sql: a time in the result is beyond what can be shown: {error}; cast it to VARCHAR"
        ) from error
    return {"rows": [{k: jsonable(v) for k, v in row.items()} for row in rows]}


def connect(
    view: View, names: Iterable[str] = VIEWS, batches: Iterable[Row] | None = None
) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with a view for each of these names, and no way to read or write anything else.

    The views show the live batches, or those given.
    """
    wanted = set(names)
    tables = sorted({name for item in wanted for name in READS.get(item, (item,))} & TABLES.keys())
    db = duckdb.connect(config={"python_enable_replacements": "false", "temp_directory": _spill_folder()})
    db.execute("SET TimeZone = 'UTC'")
    live = list(view.state.live.values() if batches is None else batches)
    db.register("live", pa.table({"batch_id": [row.batch_id for row in live], "seq": [row.seq for row in live]}, LIVE))
    if "batches" in wanted:
        flags = pa.array([row.batch_id in view.live_ids for row in view.state.rows], pa.bool_())
        db.register("batches", to_table(view.state.rows).append_column("live", flags))
    urls: list[str] = []
    for table in tables:
        planned = _readable(db, view.urls(table))
        _create(db, table, planned, view.evolved(table))
        urls += planned
    for name, statement in DERIVED.items():
        if set(READS[name]) <= set(tables):
            db.execute(f"CREATE VIEW {name} AS {statement}")
    db.execute(f"SET allowed_paths = {file_list(urls)}")
    db.execute("SET enable_external_access = false")
    db.execute("SET lock_configuration = true")
    return db


@contextmanager
def reading(table: str) -> Iterator[None]:
    """Raise Corrupt where DuckDB cannot read a table's files."""
    try:
        yield
    except duckdb.Error as error:
        raise Corrupt(f"table {table}: {explain(error).removeprefix('sql: ')}; run headrace doctor") from error


def mentioned(sql: str) -> set[str]:
    """Return the views that a statement may name; all where it asks what there is."""
    words = set(re.findall(r"\w+", sql.lower()))
    return set(VIEWS) if OVERVIEW.search(sql) else words & set(VIEWS)


def explain(error: duckdb.Error) -> str:
    """Say in one line what DuckDB found wrong."""
    text = str(error).split("\n\nLINE")[0]
    unknown = NO_TABLE.search(text)
    if unknown:
        close = difflib.get_close_matches(unknown[1].lower(), VIEWS, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(VIEWS)}"
        return f"sql: no table {unknown[1]}; {hint}"
    return f"sql: {' '.join(text.split())}"


def jsonable(value: Any) -> Any:
    """Turn a value of a result into what JSON knows: times as ISO 8601, bytes as base64, whole decimals as integers."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, timedelta | UUID) else value


def _spill_folder() -> str:
    """Name a folder for this connection alone; DuckDB makes it when a query outgrows memory, and removes it."""
    return str(Path(gettempdir()) / f"headrace-duckdb-{secrets.token_hex(8)}")


def _readable(db: duckdb.DuckDBPyConnection, urls: Sequence[str]) -> list[str]:
    """Let DuckDB read planned files that only fsspec can open; return all as DuckDB will spell them."""
    if not urls or files.is_local(urls[0]):
        return [str(files.local_path(url)) for url in urls]
    fs, _ = files.open_fs(urls[0])
    name = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    if not db.filesystem_is_registered(name):
        db.register_filesystem(fs)
    return [str(fs.unstrip_protocol(fs._strip_protocol(url))) for url in urls]


def _create(db: duckdb.DuckDBPyConnection, table: str, urls: Sequence[str], evolved: bool) -> None:
    """Make the view of a table's live rows; columns that no file has yet are null, as declared."""
    db.register(f"declared_{table}", TABLES[table].empty_table())
    if not urls:
        db.execute(f"CREATE VIEW {table} AS SELECT * FROM declared_{table}")  # noqa: S608 — our names
        return
    source = (
        f"read_parquet({file_list(urls)}, union_by_name = {evolved})"  # by name reads the footer of every file first
    )
    with reading(table):
        present = _columns(db, source)
        declared = _columns(db, f"declared_{table}")
        columns = ", ".join(name if name in present else f"NULL::{kind} AS {name}" for name, kind in declared.items())
        db.execute(
            f"CREATE VIEW {table} AS SELECT {columns} FROM {source} "  # noqa: S608 — our names and planned files
            "SEMI JOIN live USING (batch_id)"
        )


def _columns(db: duckdb.DuckDBPyConnection, source: str) -> dict[str, str]:
    described = db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608 — our names and planned files
    return {row[0]: row[1] for row in described}


def file_list(urls: Sequence[str]) -> str:
    """Write URLs as an SQL list."""
    return "[" + ", ".join("'" + url.replace("'", "''") + "'" for url in urls) + "]"


def check_select(db: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise InputError unless a text is one SELECT."""
    try:
        statements = db.extract_statements(sql)
    except duckdb.Error as error:
        raise InputError(explain(error)) from error
    if len(statements) != 1:
        raise InputError(f"sql: give one statement; found {len(statements)}")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        raise InputError(f"sql: only SELECT is possible here, not {kind}; headrace's own commands change tables")


def _distinct(names: Sequence[str]) -> list[str]:
    """Number repeated column names, so that no column of the result hides another."""
    taken: list[str] = []
    for name in names:
        new, number = name, 1
        while new in taken:
            new, number = f"{name}_{number}", number + 1
        taken.append(new)
    return taken


def render(result: dict[str, Any], console: "Console") -> None:
    """Print the rows as a table."""
    from rich.markup import escape
    from rich.table import Table

    rows = result["rows"]
    if not rows:
        console.print("no rows")
        return
    table = Table(box=None, header_style="bold")
    for name in rows[0]:
        table.add_column(escape(name), overflow="fold", justify="right" if _numeric(rows, name) else "left")
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
    console.print(table)
    console.print(f"{len(rows)} row{'s' if len(rows) != 1 else ''}", style="dim")


def _numeric(rows: Sequence[dict[str, Any]], name: str) -> bool:
    return all(row[name] is None or isinstance(row[name], int | float) for row in rows)
