"""How far archives and tables are read, which of their records are stored, and what lists say about pages.

These tables live in the frontier's file, so that a sealed segment moves them in the same transaction as its URLs.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingest.rights import Signal
from ingest.rights import read as read_rights
from ingest.rights import write as write_rights

SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, signature TEXT NOT NULL, next_index INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    path TEXT NOT NULL, page_id TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (path, page_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserved (url TEXT PRIMARY KEY, rights TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hints (url TEXT PRIMARY KEY, hints TEXT NOT NULL) WITHOUT ROWID;
"""


class Readings:
    """What the intake remembers of files and lists, on the frontier's connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.executescript(SCHEMA)

    def resume(self, path: str, signature: str) -> int:
        """Return the position from which a file is to be read on; 0 when the file is new or has changed."""
        row = self._db.execute("SELECT signature, next_index FROM files WHERE path = ?", (path,)).fetchone()
        if row and row[0] == signature:
            return int(row[1])
        self._db.execute("INSERT OR REPLACE INTO files VALUES (?, ?, 0)", (path, signature))
        return 0

    def advance(self, positions: Mapping[str, int], stored: Iterable[tuple[str, str]] = ()) -> None:
        """Move files on to the positions before which all is stored, and note the records: (path, page_id)."""
        self._db.executemany(
            "UPDATE files SET next_index = max(next_index, ?) WHERE path = ?",
            [(position, path) for path, position in positions.items()],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO records SELECT path, ?, signature FROM files WHERE path = ?",
            [(page_id, path) for path, page_id in stored],
        )

    def holds(self, path: str, page_id: str) -> bool:
        """Say whether a file's record is stored already, and note that the file as it is now still has it."""
        found = self._db.execute(
            "UPDATE records SET signature = "
            "coalesce((SELECT signature FROM files WHERE path = records.path), signature) "
            "WHERE path = ? AND page_id = ?",
            (path, page_id),
        )
        return found.rowcount > 0

    def forget(self, path: str) -> None:
        """Drop what an earlier version of a file held and the file, read to its end, holds no more."""
        self._db.execute(
            "DELETE FROM records WHERE path = ? AND signature != (SELECT signature FROM files WHERE path = ?)",
            (path, path),
        )

    def hint(self, hints: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep what a list says about pages, by URL."""
        rows = [(url, json.dumps(given)) for url, given in hints.items() if given]
        self._db.executemany("INSERT OR REPLACE INTO hints VALUES (?, ?)", rows)

    def hints_of(self, url: str) -> dict[str, Any]:
        """Return what a list said about a page, {} where none did."""
        row = self._db.execute("SELECT hints FROM hints WHERE url = ?", (url,)).fetchone()
        return dict(json.loads(row[0])) if row else {}

    def reserve(self, urls: Iterable[str], signals: Sequence[Signal]) -> None:
        """Add what a page says about the use of the pictures and recordings that it shows."""
        for url in urls if signals else ():
            rights = write_rights([*self.reserved(url), *signals])
            self._db.execute("INSERT OR REPLACE INTO reserved VALUES (?, ?)", (url, rights))

    def reserved(self, url: str) -> list[Signal]:
        """Return what pages that show this picture or recording said about its use."""
        row = self._db.execute("SELECT rights FROM reserved WHERE url = ?", (url,)).fetchone()
        return read_rights(row[0]) if row else []
