"""Maintenance: merge small files, forget old table versions, remove what nothing reaches. Safe beside other drivers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from catalog import erase, progress
from catalog.collect import Collector
from catalog.compact import compact
from catalog.errors import InputError
from catalog.home import Home
from catalog.schema import KEYS, TABLES
from catalog.settings import MaintenanceSettings

if TYPE_CHECKING:
    from rich.console import Console


def maintain(home: Home, settings: MaintenanceSettings, dry_run: bool = False) -> dict[str, Any]:
    """Compact, expire, collect, and erase archived records of what had been taken down and was offered again.

    With `dry_run` only say what the collector would remove now.
    Raise InputError if another process maintains this home.
    """
    with maintaining(home.root):
        return _maintain(home, settings, dry_run)


@contextmanager
def maintaining(root: Path) -> Iterator[None]:
    """Keep others from replacing the files of this home; raise InputError if another process does."""
    try:
        with FileLock(root / "maintain.lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{root}: another process maintains this home; wait for it") from error


def _maintain(home: Home, settings: MaintenanceSettings, dry_run: bool) -> dict[str, Any]:
    now = time.time()
    compacted: dict[str, dict[str, int]] = {}
    expired: dict[str, int] = {}
    with progress.bar("maintain", 2 * len(TABLES) + 1) as bar:
        for table in () if dry_run else TABLES:
            compacted[table] = compact(home, table, settings)
            if table in KEYS and compacted[table]["from"]:  # else the next lookup would have to wait for it
                home.index.refresh(table, home.view().urls(table))
            bar.advance(1)
        for table in () if dry_run else ("batches", *TABLES):
            expired[table] = home.store.expire_before(table, now - settings.retention_hours * 3600)
            bar.advance(1)
        erased = 0 if dry_run else erase.erase_refused(home)
        removed = Collector(home, settings, now, dry_run).run()
    return {
        "dry_run": dry_run,
        "compacted": {table: counts for table, counts in compacted.items() if counts["from"]},
        "expired": {table: count for table, count in expired.items() if count},
        "erased": erased,
        "removed": removed,
    }


def render(result: dict[str, Any], console: "Console") -> None:
    """Print what was merged, forgotten and removed."""
    from rich.filesize import decimal

    lines = [f"{table}: {n['from']:,} files became {n['to']:,}" for table, n in result["compacted"].items()]
    lines += [f"{table}: {count:,} old versions forgotten" for table, count in result["expired"].items()]
    verb = "would be removed" if result["dry_run"] else "removed"
    lines += [f"{kind}: {n['files']:,} files {verb}, {decimal(n['bytes'])}" for kind, n in result["removed"].items()]
    if result["erased"]:
        lines.append(f"{result['erased']:,} archived records overwritten, of what had been taken down and came again")
    for line in lines or ["nothing to do"]:
        console.print(line, highlight=False, markup=False)
