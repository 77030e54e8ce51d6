"""Which found URLs are queued and which are held back: scope, depth, traps, and limits of sources and hosts."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from catalog.schema import Reason
from ingest.settings import TrapSettings
from ingest.source_settings import Source
from ingest.traps import family_of, trap_reason

SCHEMA = "CREATE TABLE IF NOT EXISTS tallies (name TEXT PRIMARY KEY, num INTEGER NOT NULL) WITHOUT ROWID"
MAX_CACHED = 50_000  # tallies held in memory


@dataclass(frozen=True)
class Candidate:
    """A URL that was found, and what decides about it."""

    url: str
    host: str
    source: str
    media: bool
    depth: int
    scope: str  # the host that it must be on; '' for any


@dataclass(frozen=True)
class Refusal:
    """Why a URL is held back."""

    reason: Reason
    detail: str


class Admission:
    """Judges candidates, and counts what was queued: by source in this run, by source, host and family for ever."""

    def __init__(self, db: sqlite3.Connection, traps: TrapSettings) -> None:
        self._db = db
        self._db.execute(SCHEMA)
        self._traps = traps
        self._sources: dict[str, Source] = {}
        self._run: Counter[tuple[str, bool]] = Counter()
        self._tallies: dict[str, int] = {}
        self._changed: set[str] = set()

    def begin(self, sources: Sequence[Source], now: float) -> None:
        """Start a run: what counts by run starts at nothing."""
        self._sources = {source.url: source for source in sources}
        self._today = datetime.fromtimestamp(now, UTC).date()
        self._run.clear()

    def knows(self, source: str) -> bool:
        """Say whether a source is among this run's."""
        return source in self._sources

    def refusal(self, found: Candidate) -> Refusal | None:
        """Return why a candidate is to be held back, or None."""
        source = self._sources[found.source]
        if trap := trap_reason(found.url, self._traps, self._today):
            return Refusal(Reason.TRAP, trap)
        if not found.media and found.scope not in ("", found.host):
            return Refusal(Reason.OFF_SCOPE, f"not on {found.scope}")
        if found.depth > source.depth + found.media:
            return Refusal(Reason.TOO_DEEP, f"{found.depth} links from the source, more than {source.depth}")
        limit = source.max_media if found.media else source.max_pages
        if self._run[found.source, found.media] >= limit:
            return Refusal(Reason.PAGE_LIMIT, f"more than {limit} new in one run")
        return self._over(found, source)

    def _over(self, found: Candidate, source: Source) -> Refusal | None:
        family = family_of(found.url)
        if family and self._tally(f"family {family}") >= self._traps.max_variants:
            return Refusal(Reason.TRAP, f"more than {self._traps.max_variants} URLs like {family}")
        if self._tally(f"host {found.host}") >= self._traps.max_host_urls:
            return Refusal(Reason.URL_LIMIT, f"more than {self._traps.max_host_urls} URLs on {found.host}")
        if self._tally(f"source {found.source}") >= source.max_urls:
            return Refusal(Reason.URL_LIMIT, f"more than {source.max_urls} URLs from {found.source}")
        return None

    def count(self, found: Candidate) -> None:
        """Note that a candidate was queued for the first time."""
        self._run[found.source, found.media] += 1
        family = family_of(found.url)
        for name in (f"host {found.host}", f"source {found.source}", *([f"family {family}"] if family else [])):
            self._tallies[name] = self._tally(name) + 1
            self._changed.add(name)

    def _tally(self, name: str) -> int:
        if name not in self._tallies:
            row = self._db.execute("SELECT num FROM tallies WHERE name = ?", (name,)).fetchone()
            self._tallies[name] = row[0] if row else 0
        return self._tallies[name]

    def save(self) -> None:
        """Write the tallies that have changed, within the caller's transaction."""
        changed = [(name, self._tallies[name]) for name in self._changed]
        self._db.executemany("INSERT OR REPLACE INTO tallies VALUES (?, ?)", changed)
        self._changed.clear()
        if len(self._tallies) > MAX_CACHED:
            self._tallies.clear()

    def forget(self) -> None:
        """Drop what a transaction that failed had counted."""
        self._tallies.clear()
        self._changed.clear()
