"""SQLite files that hold what can be built anew from the tables: their errors say so."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.errors import Corrupt, InputError


class Derived:
    """A database of one consumer, in WAL mode; all writing goes through `transaction`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self.sound():
            self.db = sqlite3.connect(path, timeout=60, isolation_level=None)
            self.db.execute("PRAGMA journal_mode=WAL")

    def close(self) -> None:
        """Release the database."""
        self.db.close()

    @contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[None]:
        """Commit what the block writes as one, or nothing of it."""
        self.db.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            if self.db.in_transaction:  # on a full disk SQLite has rolled back already
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    @contextmanager
    def sound(self) -> Iterator[None]:
        """Raise Corrupt where the file is damaged (it can be built anew), InputError where it is closed to us."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_CORRUPT")  # without one: a text that is no UTF-8
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise Corrupt(f"{self._path}: {error}; run headrace doctor --repair") from error
            if isinstance(error, sqlite3.OperationalError):  # read-only, full, locked for a minute
                raise InputError(
                    f"{self._path}: {error}; lookups write here: make room, or wait, and try again"
                ) from error
            raise
