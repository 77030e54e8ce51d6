"""The full-text index: SQLite FTS5 as a consumer of documents and transcripts; Chinese is cut into words first."""

import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa

from catalog.derived import Derived
from catalog.errors import Corrupt
from catalog.home import View

FILE = "fulltext.db"
TextKind: TypeAlias = Literal["text", "audio"]
# kind → its table, the id of a row, the column of its title
TABLES: dict[TextKind, tuple[str, str, str | None]] = {
    "text": ("documents", "document_id", "title"),
    "audio": ("transcripts", "media_id", None),
}
LAYOUT = (
    "CREATE TABLE batches (kind TEXT, batch TEXT, PRIMARY KEY (kind, batch)) WITHOUT ROWID",
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, batch TEXT NOT NULL)",
    "CREATE INDEX rows_batch ON rows (batch)",
    "CREATE INDEX rows_id ON rows (id)",
    "CREATE VIRTUAL TABLE words USING fts5 (title, body, tokenize = 'porter unicode61 remove_diacritics 2')",
)
VERSION = 1
# Han and kana stand without spaces; FTS5 would take a sentence of them for one word.
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]+")
WORD = re.compile(r"\w+")
TITLE_WEIGHT = 3.0
SECONDS = 1.0
CHECK_EVERY = 1000  # virtual machine steps between two looks at the clock


@dataclass(frozen=True)
class Words:
    """What a search by words found: ids and BM25 scores (greater is better), best first."""

    hits: tuple[tuple[str, float], ...]
    ranked: bool  # False: too many rows match to rank them in time; the newest come first, with a score of 0


class FullText:
    """Words of all live documents and transcripts, below the folder of indexes."""

    def __init__(self, folder: Path) -> None:
        self._store = Derived(folder / FILE)
        self._db = self._store.db
        with self._store.sound():
            self._db.execute("PRAGMA secure_delete = ON")  # what is purged leaves no bytes in free pages
            with self._store.transaction():
                self._lay_out()

    def close(self) -> None:
        """Release the database."""
        self._store.close()

    def _lay_out(self) -> None:
        if self._db.execute("PRAGMA user_version").fetchone() == (VERSION,):
            return
        for name in ("batches", "rows", "words"):
            self._db.execute(f"DROP TABLE IF EXISTS {name}")
        for statement in LAYOUT:
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version = {VERSION}")

    def refresh(self, view: View) -> bool:
        """Add live batches that are not held, drop held ones that are not live; tell whether anything changed."""
        changed = False
        for kind, (table, row_id, title) in TABLES.items():
            live = {row.batch_id for row in view.state.live.values() if row.outputs.get(table)}
            if live == self._held(kind):
                continue
            changed = True
            for batch in sorted(self._held(kind) - live):
                with self._store.sound(), self._store.transaction():
                    self._drop(kind, batch)
            columns = [row_id, "text", *([title] if title else [])]
            for batch in sorted(live - self._held(kind)):
                rows = view.read(table, columns, [batch])
                with self._store.sound(), self._store.transaction():
                    if batch not in self._held(kind):  # another process may have been faster
                        self._add(kind, batch, rows.rename_columns(["id", "body", *(["title"] if title else [])]))
        return changed

    def forget(self, ids: Iterable[str]) -> int:
        """Take rows out for good, the bytes of their words too; return how many there were."""
        with self._store.sound(), self._store.transaction():
            numbers = [
                row[0] for name in set(ids) for row in self._db.execute("SELECT number FROM rows WHERE id = ?", (name,))
            ]
            self._remove(numbers)
        if numbers:
            with self._store.sound():
                # FTS5 marks deleted rows only; merging all its segments writes the words anew without them
                self._db.execute("INSERT INTO words (words) VALUES ('optimize')")
                self._db.execute("VACUUM")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(numbers)

    def search(
        self, text: str, kind: TextKind, k: int, allowed: pa.Array | None = None, seconds: float = SECONDS
    ) -> Words:
        """Find rows that hold all the words, and after them rows that hold some; give up ranking after `seconds`.

        `allowed` are the only ids that may be found.
        """
        words = tokens(text)
        found: dict[str, float] = {}
        self._allow(allowed if allowed is not None else pa.array([], pa.string()))
        for joiner in (" ", " OR ")[: len(words)]:
            query = joiner.join(f'"{word}"' for word in words)
            try:
                with self._store.sound(), self._limited(seconds):
                    hits = self._db.execute(
                        "SELECT rows.id, -bm25(words, ?, 1.0) FROM words JOIN rows ON rows.number = words.rowid "
                        "WHERE words MATCH ? AND rows.kind = ? AND (? OR rows.id IN (SELECT id FROM allowed)) "
                        "ORDER BY 2 DESC, rows.id LIMIT ?",
                        (TITLE_WEIGHT, query, kind, allowed is None, k),
                    ).fetchall()
            except _OutOfTime:
                return Words(self._newest(query, kind, k, allowed is None), False)
            for name, score in hits:
                found.setdefault(name, score)
            if len(found) >= k:
                break
        return Words(tuple(found.items())[:k], True)

    def count(self, kind: TextKind) -> int:
        """Count the rows held."""
        return int(self._db.execute("SELECT count(*) FROM rows WHERE kind = ?", (kind,)).fetchone()[0])

    def _allow(self, ids: pa.Array) -> None:
        """Keep the ids that may be found beside the index."""
        with self._store.sound():
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS allowed (id TEXT PRIMARY KEY) WITHOUT ROWID")
            with self._store.transaction("DEFERRED"):
                self._db.execute("DELETE FROM allowed")
                self._db.executemany("INSERT INTO allowed VALUES (?)", ((name,) for name in ids.to_pylist()))

    def problem(self, view: View) -> str | None:
        """Say what disagrees: the file with itself, the words with the texts kept, the rows with the tables."""
        try:
            with self._store.sound():
                said = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
                if said != "ok":
                    return str(said)
                self._db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        except (Corrupt, sqlite3.DatabaseError) as error:
            return str(error).removesuffix("; run headrace doctor --repair")
        for kind, (table, row_id, _) in TABLES.items():
            batches = self._held(kind)
            rows = view.read(table, [row_id, "batch_id"], batches & view.live_ids)
            wanted = set(zip(rows[row_id].to_pylist(), rows["batch_id"].to_pylist(), strict=True))
            held = self._db.execute("SELECT id, batch FROM rows WHERE kind = ?", (kind,))
            if wanted != {row for row in held if row[1] in view.live_ids}:
                return f"holds other rows than table {table} in the same batches"
        return None

    def _newest(self, query: str, kind: TextKind, k: int, anything: bool) -> tuple[tuple[str, float], ...]:
        rows = self._db.execute(
            "SELECT rows.id FROM words JOIN rows ON rows.number = words.rowid "
            "WHERE words MATCH ? AND rows.kind = ? AND (? OR rows.id IN (SELECT id FROM allowed)) "
            "ORDER BY words.rowid DESC LIMIT ?",
            (query, kind, anything, k),
        )
        return tuple((row[0], 0.0) for row in rows)

    def _held(self, kind: TextKind) -> set[str]:
        with self._store.sound():
            return {row[0] for row in self._db.execute("SELECT batch FROM batches WHERE kind = ?", (kind,))}

    def _add(self, kind: TextKind, batch: str, rows: pa.Table) -> None:
        self._db.execute("INSERT INTO batches VALUES (?, ?)", (kind, batch))
        for row in rows.sort_by("id").to_pylist():
            number = self._db.execute(
                "INSERT INTO rows (id, kind, batch) VALUES (?, ?, ?)", (row["id"], kind, batch)
            ).lastrowid
            body, title = segmented(row["body"] or ""), segmented(row.get("title") or "")
            self._db.execute("INSERT INTO words (rowid, title, body) VALUES (?, ?, ?)", (number, title, body))

    def _drop(self, kind: TextKind, batch: str) -> None:
        self._remove(
            [row[0] for row in self._db.execute("SELECT number FROM rows WHERE kind = ? AND batch = ?", (kind, batch))]
        )
        self._db.execute("DELETE FROM batches WHERE kind = ? AND batch = ?", (kind, batch))

    def _remove(self, numbers: Sequence[int]) -> None:
        self._db.executemany("DELETE FROM words WHERE rowid = ?", [(number,) for number in numbers])
        self._db.executemany("DELETE FROM rows WHERE number = ?", [(number,) for number in numbers])

    @contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        self._db.set_progress_handler(lambda: time.monotonic() > end, CHECK_EVERY)
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_INTERRUPT":
                raise _OutOfTime from error
            raise
        finally:
            self._db.set_progress_handler(None, 0)


class _OutOfTime(Exception):
    """A query did not end in time."""


def segmented(text: str) -> str:
    """Put spaces between the words of runs that are written without them, long words beside their parts."""
    if not UNSPACED.search(text):
        return text
    import rjieba

    return UNSPACED.sub(lambda run: f" {' '.join(rjieba.cut_for_search(run[0]))} ", text)


def tokens(text: str) -> list[str]:
    """Return the words of a query as they are looked up; no character of it is FTS5 syntax."""
    return list(dict.fromkeys(WORD.findall(segmented(text))))
