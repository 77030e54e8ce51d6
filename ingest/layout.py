"""Where the frontier lies: in one file, or in one for each of several crawl processes; and how one becomes the other.

A new layout is built aside and appears by one rename; only then the old one goes. So after a kill either or both are
there, and where both are, they say the same.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ingest.frontier import Frontier
from ingest.partition import Partition, frontier_files, frontier_path, part_of, part_of_file
from ingest.settings import NetworkSettings

OWN = ("urls", "segments", "outbox", "tallies")  # what is not simply copied to every share
URL_COLUMNS = (
    "url, host, source, kind, depth, referrer, scope, hops, priority, state, outcome, detail, target, etag, "
    "last_modified, payload_sha256, fetched_at, level, gone, rights"
)
FOUND = "url, host, source, kind, depth, referrer, scope, hops"


def staging(root: Path, part: Partition) -> Path:
    """Return the folder in which a share writes its segments."""
    return root / "crawl" if part.count == 1 else root / "crawl" / f"{part.index}-of-{part.count}"


def arrange(root: Path, network: NetworkSettings, count: int, take_up: Callable[[Partition], None]) -> None:
    """Lay the frontier out for `count` processes; `take_up` publishes what a share of the old layout left behind."""
    parts = [Partition(index, count) for index in range(count)]
    wanted = [frontier_path(root, part) for part in parts]
    files = [path for path in (root / "frontier.db", *sorted(root.glob("frontier-*/*.db"))) if path.is_file()]
    if not all(path.is_file() for path in wanted):
        old = frontier_files(root)
        if not old:
            _make_folder(wanted[0].parent, root)
            return
        for path in old:
            take_up(part_of_file(path))
        _build(root, network, parts, old)
    for path in files:
        if path not in wanted:
            _remove(path, root)


def _make_folder(folder: Path, root: Path) -> None:
    if folder != root:
        folder.mkdir(exist_ok=True)


def _build(root: Path, network: NetworkSettings, parts: list[Partition], old: list[Path]) -> None:
    aside = root / "frontier.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for part in parts:
        target = aside / frontier_path(root, part).name
        Frontier(target, network).close()
        with closing(sqlite3.connect(target)) as db:
            db.create_function("part_of", 2, part_of, deterministic=True)
            for path in old:
                db.execute("ATTACH ? AS old", (str(path),))
                with db:
                    _copy(db, part)
                db.execute("DETACH old")
            with db:
                for column in ("host", "source"):
                    db.execute(
                        f"INSERT OR REPLACE INTO tallies SELECT '{column} ' || {column}, count(*) FROM urls "  # noqa: S608
                        f"WHERE state != 'held' GROUP BY {column}"
                    )
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")  # so that the file stands alone when it is renamed
    first = frontier_path(root, parts[0])
    if len(parts) == 1:
        (aside / first.name).rename(first)
        aside.rmdir()
    else:
        aside.rename(first.parent)


def _copy(db: sqlite3.Connection, part: Partition) -> None:
    db.execute(
        f"INSERT OR IGNORE INTO urls ({URL_COLUMNS}) SELECT {URL_COLUMNS} FROM old.urls "  # noqa: S608
        "WHERE part_of(host, ?) = ?",
        (part.count, part.index),
    )
    db.execute("INSERT OR IGNORE INTO tallies SELECT * FROM old.tallies WHERE name LIKE 'family %'")
    if part.index == 0:  # which passes on what is not its own
        db.execute(f"INSERT INTO outbox ({FOUND}) SELECT {FOUND} FROM old.outbox")  # noqa: S608
    tables = {name for (name,) in db.execute("SELECT name FROM old.sqlite_schema WHERE type = 'table'")}
    ours = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    for table in sorted((tables & ours) - set(OWN)):
        db.execute(f"INSERT OR IGNORE INTO {table} SELECT * FROM old.{table}")  # noqa: S608 — a name of our own schema


def _remove(path: Path, root: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)
    if path.parent != root and not any(path.parent.iterdir()):
        path.parent.rmdir()
