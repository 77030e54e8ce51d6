"""The key index: id → data file and row, so that a point lookup reads one row group instead of planning every file."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files
from catalog.derived import Derived
from catalog.errors import Corrupt
from catalog.schema import KEYS, TABLES
from catalog.shards import filled

LAYOUT = (
    "CREATE TABLE IF NOT EXISTS files (file INTEGER PRIMARY KEY, tbl TEXT NOT NULL, url TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS keys (key BLOB NOT NULL, file INTEGER NOT NULL, row INTEGER NOT NULL, "
    "PRIMARY KEY (key, file, row)) WITHOUT ROWID",
)
CHUNK = 500


class KeyIndex:
    """A consumer of the tables: holds whole data files and subtracts both ways."""

    def __init__(self, path: Path) -> None:
        self._store = Derived(path)
        self._db = self._store.db
        with self._store.sound(), self._store.transaction():
            self._lay_out()

    def close(self) -> None:
        """Release the database."""
        self._store.close()

    def _lay_out(self) -> None:
        """Make the tables; start afresh if they were made for other key columns, whose rows nobody would find."""
        made_for = zlib.crc32(repr((LAYOUT, sorted(KEYS.items()))).encode()) & 0x7FFFFFFF
        if self._db.execute("PRAGMA user_version").fetchone() != (made_for,):
            for name in ("keys", "files"):
                self._db.execute(f"DROP TABLE IF EXISTS {name}")
            self._db.execute(f"PRAGMA user_version = {made_for}")
        for statement in LAYOUT:
            self._db.execute(statement)

    def refresh(self, table: str, urls: Iterable[str]) -> None:
        """Hold exactly these files of a table: add the new, drop the gone; raise Corrupt if one cannot be read."""
        wanted = set(urls)
        if wanted == self.held(table):
            return
        with self._store.sound(), self._store.transaction():
            held = self._held(table)
            for url in wanted - held.keys():
                self._add(table, url)
            for url in held.keys() - wanted:
                self._drop(held[url])

    def drop(self, table: str, urls: Iterable[str]) -> None:
        """Forget these files of a table, those of them that are held."""
        with self._store.sound(), self._store.transaction():
            held = self._held(table)
            for url in held.keys() & set(urls):
                self._drop(held[url])

    def held(self, table: str) -> set[str]:
        """Return the URLs of the files that are indexed."""
        with self._store.sound():
            return set(self._held(table))

    def _held(self, table: str) -> dict[str, int]:
        return dict(self._db.execute("SELECT url, file FROM files WHERE tbl = ?", (table,)))

    def _add(self, table: str, url: str) -> None:
        number = self._db.execute("INSERT INTO files (tbl, url) VALUES (?, ?)", (table, url)).lastrowid
        names = list(dict.fromkeys(column.partition(".")[0] for column in KEYS[table]))
        with _parquet(url) as parquet:
            present = [name for name in names if name in parquet.schema_arrow.names]
            columns = filled(parquet.read(present), declared(names, table))
        for column in KEYS[table]:
            keyed = enumerate(key_values(columns, column))
            rows = ((_key(table, column, value), number, row) for row, values in keyed for value in values)
            self._db.executemany("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", rows)

    def _drop(self, number: int) -> None:
        self._db.execute("DELETE FROM keys WHERE file = ?", (number,))
        self._db.execute("DELETE FROM files WHERE file = ?", (number,))

    def find(self, table: str, column: str, values: Sequence[str], urls: Iterable[str]) -> dict[str, list[int]]:
        """Return the rows of these files, by URL, whose key column is among `values`; refresh if a file is missing."""
        assert column in KEYS[table], f"{table}.{column} has no key index"
        wanted = set(urls)
        while True:
            # one snapshot: another reader's refresh may drop files meanwhile
            with self._store.sound(), self._store.transaction("DEFERRED"):
                if wanted <= self._held(table).keys():
                    return self._find([_key(table, column, value) for value in values], wanted)
            self.refresh(table, wanted)

    def _find(self, keys: Sequence[bytes], urls: set[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT url, row FROM keys JOIN files USING (file) WHERE key IN ({marks})"  # noqa: S608 — only marks
            for url, row in self._db.execute(query, chunk):
                if url in urls:
                    found[url].append(row)
        return {url: sorted(set(rows)) for url, rows in found.items()}


def key_values(rows: pa.Table, column: str) -> Iterator[list[str]]:
    """Yield each row's values of a key column; `media.url` is the field url of every struct in the list media."""
    name, _, field = column.partition(".")
    for value in rows[name].to_pylist():
        found = [item[field] for item in value or ()] if field else [value]
        yield [item for item in found if item is not None]


def take(url: str, rows: Sequence[int], columns: Sequence[str], table: str) -> pa.Table:
    """Read single rows of one data file, touching only their row groups."""
    with _parquet(url) as parquet:
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
    return filled(data.take(local), declared(columns, table))


@contextmanager
def _parquet(url: str) -> Iterator[pq.ParquetFile]:
    """Open a data file; raise Corrupt if it is gone or cannot be read."""
    try:
        with files.open_read(url) as file:
            yield pq.ParquetFile(file)
    except (OSError, pa.ArrowInvalid) as error:
        said = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise Corrupt(f"{url} {said}; run headrace doctor") from error


def declared(columns: Iterable[str], table: str) -> pa.Schema:
    """Return the schema of some of a table's columns."""
    return pa.schema([TABLES[table].field(name) for name in columns])


def _key(table: str, column: str, value: str) -> bytes:
    return hashlib.blake2b(f"{table}.{column}\0{value}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
