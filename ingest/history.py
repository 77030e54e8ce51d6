"""What the frontier tells those who ask: the visits of one URL, the freshness of each source; it is only read."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catalog.errors import Corrupt, InputError
from catalog.evidence import MAX_REDIRECTS, Visit
from catalog.settings import Config
from ingest.partition import frontier_files
from ingest.schedule import MAX_LEVEL, wait_of
from ingest.settings import IngestSettings

VISIT = "SELECT url, state, outcome, detail, target, fetched_at, referrer FROM urls WHERE url = ?"
FRESHNESS = """
    SELECT source, count(*) AS urls, sum(state IN ('queued', 'leased')) AS waiting, sum(state = 'held') AS held,
           sum(state = 'dead') AS dead, sum(outcome = 'ok' AND kind IN ('page', 'media')) AS stored,
           sum(state = 'done' AND outcome = 'ok' AND kind IN ('page', 'media') AND fetched_at > due.before) AS fresh,
           max(CASE WHEN outcome = 'ok' THEN fetched_at END) AS last_success
    FROM urls LEFT JOIN due USING (level) GROUP BY source"""
NUMBERS = ("urls", "waiting", "held", "dead", "stored", "fresh")


def visits(root: Path, url: str) -> list[Visit]:
    """Return what is known of a URL and of those it redirects to; raise Corrupt if a frontier cannot be read."""
    files = frontier_files(root)
    found: list[Visit] = []
    while len(found) < MAX_REDIRECTS and (row := _row(files, url)):
        asked, state, outcome, detail, target, seconds, referrer = row
        fetched_at = datetime.fromtimestamp(seconds, UTC) if seconds else None
        found.append(Visit(asked, state, outcome, detail, target, fetched_at, referrer))
        if target is None or target in {visit.url for visit in found}:
            break
        url = target
    return found


def _row(files: list[Path], url: str) -> Any:
    for path in files:
        with _reading(path) as db:
            if row := db.execute(VISIT, (url,)).fetchone():
                return row
    return None


def freshness(root: Path, config: Config, now: float) -> dict[str, dict[str, Any]]:
    """Count each source's URLs, say which share of its stored pages is still fresh and when one was last fetched."""
    settings = config.section(IngestSettings)
    classes = {source.url: source.source_class for source in settings.data_sources}
    shares = {source.url: source.share for source in settings.data_sources}
    due = [(level, now - wait_of(level, settings.network)) for level in range(MAX_LEVEL + 1)]
    sums: dict[str, dict[str, Any]] = {}
    for path in frontier_files(root):
        with _reading(path) as db:
            db.execute("CREATE TEMP TABLE due (level INTEGER PRIMARY KEY, before REAL NOT NULL)")
            db.executemany("INSERT INTO due VALUES (?, ?)", due)
            for source, *counts, last in db.execute(FRESHNESS):
                known = sums.setdefault(source, {**dict.fromkeys(NUMBERS, 0), "last": 0.0})
                for name, count in zip(NUMBERS, counts, strict=True):
                    known[name] += count or 0
                known["last"] = max(known["last"], last or 0.0)
    return {source: _told(sums[source], classes.get(source), shares.get(source)) for source in sorted(sums)}


def _told(counts: dict[str, Any], source_class: str | None, share: float | None) -> dict[str, Any]:
    last = counts.pop("last")
    return {
        "class": source_class,  # None: the configuration names this source no more
        "share": share,
        **counts,
        "fresh_share": round(counts["fresh"] / counts["stored"], 4) if counts["stored"] else None,
        "last_success": datetime.fromtimestamp(last, UTC).isoformat() if last else None,
    }


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as db:
            yield db
    except sqlite3.OperationalError as error:  # locked, or not ours to read: no reason to distrust what it holds
        raise InputError(f"{path}: cannot be read now: {error}; try again") from error
    except sqlite3.DatabaseError as error:
        raise Corrupt(f"{path}: cannot be read: {error}; move it away, the next crawl restores it") from error
