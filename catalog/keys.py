"""The key index: id → data file and row, so that a point lookup reads one row group instead of planning every file."""

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files
from catalog.schema import KEYS, TABLES

LAYOUT = """
CREATE TABLE IF NOT EXISTS files (file INTEGER PRIMARY KEY, tbl TEXT NOT NULL, url TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS keys (key BLOB NOT NULL, file INTEGER NOT NULL, row INTEGER NOT NULL,
                                 PRIMARY KEY (key, file, row)) WITHOUT ROWID;
"""
CHUNK = 500


class KeyIndex:
    """A consumer of the tables: holds whole data files and subtracts both ways."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.executescript(LAYOUT)

    def close(self) -> None:
        """Release the database."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def refresh(self, table: str, urls: Iterable[str]) -> None:
        """Hold exactly these files of a table: add the new, drop the gone."""
        wanted = set(urls)
        if wanted == set(self._held(table)):
            return
        with self._transaction():
            held = self._held(table)
            for url in wanted - held.keys():
                self._add(table, url)
            for url in held.keys() - wanted:
                self._drop(held[url])

    def held(self, table: str) -> set[str]:
        """Return the URLs of the files that are indexed."""
        return set(self._held(table))

    def _held(self, table: str) -> dict[str, int]:
        return dict(self._db.execute("SELECT url, file FROM files WHERE tbl = ?", (table,)))

    def _add(self, table: str, url: str) -> None:
        number = self._db.execute("INSERT INTO files (tbl, url) VALUES (?, ?)", (table, url)).lastrowid
        fs, path = files.open_fs(url)
        with fs.open(path, "rb") as file:
            columns = pq.read_table(file, columns=sorted({column.partition(".")[0] for column in KEYS[table]}))
        for column in KEYS[table]:
            keyed = enumerate(key_values(columns, column))
            rows = ((_key(table, column, value), number, row) for row, values in keyed for value in values)
            self._db.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", rows)

    def _drop(self, number: int) -> None:
        self._db.execute("DELETE FROM keys WHERE file = ?", (number,))
        self._db.execute("DELETE FROM files WHERE file = ?", (number,))

    def find(self, table: str, column: str, values: Sequence[str]) -> dict[str, list[int]]:
        """Return the rows, by file URL, whose key column is among `values`."""
        assert column in KEYS[table], f"{table}.{column} has no key index"
        found: dict[str, list[int]] = defaultdict(list)
        keys = [_key(table, column, value) for value in values]
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT url, row FROM keys JOIN files USING (file) WHERE key IN ({marks})"  # noqa: S608 — only marks
            for url, row in self._db.execute(query, chunk):
                found[url].append(row)
        return found


def key_values(rows: pa.Table, column: str) -> Iterator[list[str]]:
    """Yield each row's values of a key column; `media.url` is the field url of every struct in the list media."""
    name, _, field = column.partition(".")
    for value in rows[name].to_pylist():
        found = [item[field] for item in value or ()] if field else [value]
        yield [item for item in found if item is not None]


def take(url: str, rows: Sequence[int], columns: Sequence[str], table: str) -> pa.Table:
    """Read single rows of one data file, touching only their row groups."""
    schema = pa.schema([TABLES[table].field(name) for name in columns])
    fs, path = files.open_fs(url)
    with fs.open(path, "rb") as file:
        parquet = pq.ParquetFile(file)
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        wanted = sorted(set(rows))
        groups = [i for i in range(len(sizes)) if any(starts[i] <= row < starts[i] + sizes[i] for row in wanted)]
        present = [name for name in columns if name in parquet.schema_arrow.names]
        data = parquet.read_row_groups(groups, columns=present)
        offsets = {group: sum(sizes[g] for g in groups[:k]) for k, group in enumerate(groups)}
        local = [
            offsets[group] + row - starts[group]
            for row in wanted
            for group in groups
            if starts[group] <= row < starts[group] + sizes[group]
        ]
    picked = data.take(local)
    full = {
        name: picked[name] if name in present else pa.nulls(len(local), schema.field(name).type) for name in columns
    }
    return pa.table(full).cast(schema)


def _key(table: str, column: str, value: str) -> bytes:
    return hashlib.blake2b(f"{table}.{column}\0{value}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
