"""The frontier: every URL ever seen, what is to be asked next, and what came of the last time (SQLite, WAL).

A URL is `queued`, `leased` (in flight, or fetched into a segment that is not sealed yet), `done`, or `held` (known, but
outside the scope, depth or limits of its source). Only `apply_segment`, which reads a sealed segment, and outcomes that
bring nothing new mark a URL done; so after a crash the frontier can be brought up to date from the segments.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from catalog.schema import Reason
from ingest.readings import Readings
from ingest.settings import Source
from ingest.urls import host_of, trap_reason

Kind: TypeAlias = Literal["page", "media", "sitemap", "feed"]

OK = "ok"
PRIORITY = {"sitemap": 0, "feed": 0, "page": 1, "media": 2}

SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    seq INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, host TEXT NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL,
    depth INTEGER NOT NULL, referrer TEXT, scope TEXT NOT NULL, hops INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL, state TEXT NOT NULL, outcome TEXT, detail TEXT,
    target TEXT, etag TEXT, last_modified TEXT, payload_sha256 TEXT, fetched_at REAL
);
CREATE INDEX IF NOT EXISTS urls_queue ON urls (state, host, priority, depth, seq);
CREATE TABLE IF NOT EXISTS hosts (host TEXT PRIMARY KEY, not_before REAL NOT NULL);
CREATE TABLE IF NOT EXISTS segments (sha256 TEXT PRIMARY KEY, staged TEXT NOT NULL, state TEXT NOT NULL);
CREATE TEMP TABLE active (source TEXT PRIMARY KEY);
"""
COLUMNS = (
    "url", "host", "source", "kind", "depth", "referrer", "scope", "hops", "outcome", "etag", "last_modified",
    "payload_sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One URL to visit, and what is known of it from before."""

    url: str
    host: str
    source: str
    kind: Kind
    depth: int
    referrer: str | None
    scope: str  # the host that pages found from here must be on; '' for any
    hops: int  # redirects that led here
    outcome: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    payload_sha256: str | None = None


@dataclass(frozen=True)
class Settled:
    """What came of one visit."""

    url: str
    outcome: str  # OK or a Reason
    fetched_at: float
    detail: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    payload_sha256: str | None = None


class Frontier:
    """One SQLite file, used from one thread of one process at a time."""

    def __init__(self, path: Path, recrawl_after: float) -> None:
        self._recrawl_after = recrawl_after
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; `sealed` syncs the rest
        self._db.executescript(SCHEMA)
        self.readings = Readings(self._db)
        self._sources: dict[str, Source] = {}
        self._admitted: Counter[tuple[str, bool]] = Counter()
        self.fresh: set[str] = set()  # hosts for which something was queued since the caller last took them

    def close(self) -> None:
        """Close the file."""
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

    def is_empty(self) -> bool:
        """Say whether no URL was ever seen."""
        return self._db.execute("SELECT 1 FROM urls LIMIT 1").fetchone() is None

    def begin(self, sources: Sequence[Source], now: float) -> None:
        """Start a run: return leases, queue what is due, and let in what the limits of earlier runs kept out."""
        self._sources = {source.url: source for source in sources}
        self._admitted.clear()
        with self._transaction():
            self._db.execute("DELETE FROM active")
            self._db.executemany("INSERT INTO active VALUES (?)", [(url,) for url in self._sources])
            self._db.execute("UPDATE urls SET state = 'queued' WHERE state = 'leased'")
            self._db.execute(
                "UPDATE urls SET state = 'queued', hops = 0, target = NULL WHERE state = 'done' AND fetched_at <= ? "
                "AND host != '' AND source IN (SELECT source FROM active)",
                (now - self._recrawl_after,),
            )
            for source in sources:
                self._release(source)

    def _release(self, source: Source) -> None:
        """Queue held URLs of a source that its depth now covers, up to its limits."""
        for media, limit in ((False, source.max_pages), (True, source.max_media)):
            released = self._db.execute(
                "UPDATE urls SET state = 'queued', outcome = NULL, detail = NULL WHERE seq IN (SELECT seq FROM urls "
                "WHERE state = 'held' AND source = ? AND (kind = 'media') = ? AND depth <= ? AND outcome IN (?, ?) "
                "ORDER BY depth, seq LIMIT ?)",
                (source.url, media, source.depth + media, Reason.TOO_DEEP, Reason.PAGE_LIMIT, limit),
            )
            self._admitted[source.url, media] += released.rowcount

    def seed(self, source: Source, url: str, kind: Kind, host: str) -> None:
        """Queue the entry of a source, whatever its state; seeds are asked again in every run."""
        self._db.execute(
            "INSERT INTO urls (url, host, source, kind, depth, scope, priority, state) "
            "VALUES (?, ?, ?, ?, 0, ?, ?, 'queued') ON CONFLICT (url) DO UPDATE SET state = 'queued', depth = 0, "
            "kind = excluded.kind, source = excluded.source, scope = excluded.scope, hops = 0, target = NULL",
            (url, host, source.url, kind, host, PRIORITY[kind]),
        )

    def admit(self, parent: Task, urls: Iterable[str], kind: Kind) -> None:
        """Record the URLs that a page points to: queue those within scope, depth and limits, hold the others."""
        source = self._sources[parent.source]
        depth = parent.depth + 1
        with self._transaction():
            for url in urls:
                host = host_of(url)
                reason, detail = self._refusal(source, parent.scope, url, host, kind, depth)
                scope = host if not parent.scope and kind == "page" else parent.scope
                self._insert(Task(url, host, parent.source, kind, depth, parent.url, scope, 0), reason, detail)

    def redirect(self, task: Task, target: str, scope: str) -> None:
        """Queue the target of a redirect, as deep as the URL that led there."""
        with self._transaction():
            self._db.execute("UPDATE urls SET target = ? WHERE url = ?", (target, task.url))
            self._insert(
                Task(target, host_of(target), task.source, task.kind, task.depth, task.url, scope, task.hops + 1),
                None,
                None,
            )

    def circles(self, url: str, target: str, limit: int) -> bool:
        """Say whether following known redirects from `target` comes back to `url`."""
        for _ in range(limit + 1):
            if target == url:
                return True
            row = self._db.execute("SELECT target FROM urls WHERE url = ?", (target,)).fetchone()
            if row is None or row[0] is None:
                return False
            target = row[0]
        return True

    def _insert(self, task: Task, reason: Reason | None, detail: str | None) -> None:
        state = "held" if reason else "queued"
        inserted = self._db.execute(
            "INSERT INTO urls "
            "(url, host, source, kind, depth, referrer, scope, hops, priority, state, outcome, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE SET state = excluded.state, "
            "depth = excluded.depth, source = excluded.source, scope = excluded.scope, referrer = excluded.referrer, "
            "host = excluded.host, outcome = NULL, detail = NULL WHERE excluded.state = 'queued' "
            "AND (urls.state = 'held' OR urls.host = '') RETURNING seq",  # a host of '' came from a local file
            (
                task.url, task.host, task.source, task.kind, task.depth, task.referrer, task.scope, task.hops,
                PRIORITY[task.kind], state, reason, detail,
            ),
        ).fetchone()  # fmt: skip
        if inserted and not reason:
            self.fresh.add(task.host)
            self._admitted[task.source, task.kind == "media"] += not task.hops

    def _refusal(
        self, source: Source, scope: str, url: str, host: str, kind: Kind, depth: int
    ) -> tuple[Reason | None, str | None]:
        media = kind == "media"
        if trap := trap_reason(url):
            return Reason.TRAP, trap
        if not media and scope not in ("", host):
            return Reason.OFF_SCOPE, f"not on {scope}"
        if depth > source.depth + media:
            return Reason.TOO_DEEP, f"{depth} links from the source, more than {source.depth}"
        limit = source.max_media if media else source.max_pages
        if self._admitted[source.url, media] >= limit:
            return Reason.PAGE_LIMIT, f"more than {limit} new in one run"
        return None, None

    def hosts(self, now: float) -> set[str]:
        """Return the hosts that have something queued and have not asked for a pause; asks the whole queue."""
        self.fresh.clear()
        rows = self._db.execute(
            "SELECT DISTINCT host FROM urls WHERE state = 'queued' AND source IN (SELECT source FROM active) "
            "AND host NOT IN (SELECT host FROM hosts WHERE not_before > ?)",
            (now,),
        )
        return {host for (host,) in rows}

    def paused(self, host: str, now: float) -> bool:
        """Say whether a host has asked to be left alone until later."""
        row = self._db.execute("SELECT 1 FROM hosts WHERE host = ? AND not_before > ?", (host, now)).fetchone()
        return row is not None

    def lease(self, host: str) -> Task | None:
        """Take the most urgent URL of a host."""
        row = self._db.execute(
            "UPDATE urls SET state = 'leased' WHERE seq = (SELECT seq FROM urls WHERE state = 'queued' AND host = ? "  # noqa: S608
            "AND source IN (SELECT source FROM active) ORDER BY priority, depth, seq LIMIT 1) "
            f"RETURNING {', '.join(COLUMNS)}",
            (host,),
        ).fetchone()
        return Task(*row) if row else None

    def release(self, url: str) -> None:
        """Give a leased URL back unvisited."""
        self._db.execute("UPDATE urls SET state = 'queued' WHERE url = ? AND state = 'leased'", (url,))

    def postpone(self, host: str, until: float) -> None:
        """Leave a host alone until a time, in this run and in later ones."""
        self._db.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?)", (host, until))

    def settle(self, settled: Settled) -> None:
        """Mark a visit that needs no record as done: nothing changed, or it brought links only."""
        with self._transaction():
            self._settle(settled)

    def _settle(self, item: Settled) -> None:
        if item.outcome == OK:
            self._db.execute(
                "UPDATE urls SET state = 'done', outcome = ?, detail = ?, fetched_at = ?, target = NULL, "
                "etag = ?, last_modified = ?, payload_sha256 = coalesce(?, payload_sha256) "
                "WHERE url = ? AND coalesce(fetched_at, 0) <= ?",
                (
                    OK, item.detail, item.fetched_at, item.etag, item.last_modified, item.payload_sha256,
                    item.url, item.fetched_at,
                ),
            )  # fmt: skip
        else:  # what is known of the payload stays, in case the page comes back as it was
            self._db.execute(
                "UPDATE urls SET state = 'done', outcome = ?, detail = ?, fetched_at = ? WHERE url = ?",
                (item.outcome, item.detail, item.fetched_at, item.url),
            )

    def known(self, url: str) -> tuple[str | None, str | None, str | None]:
        """Return the last outcome, validator and payload hash of a URL, Nones where it was never seen."""
        row = self._db.execute("SELECT outcome, etag, payload_sha256 FROM urls WHERE url = ?", (url,)).fetchone()
        return row or (None, None, None)

    def sealed(self, sha256: str, staged: str) -> None:
        """Record a segment that is safe on disk; everything written before is safe too once this returns."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("INSERT OR IGNORE INTO segments VALUES (?, ?, 'sealed')", (sha256, staged))
        self._db.execute("PRAGMA synchronous = NORMAL")

    def applied(
        self,
        sha256: str,
        items: Iterable[tuple[Task, Settled]],
        progress: Mapping[str, int] = MappingProxyType({}),
        records: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Mark everything that a sealed segment holds as done, in one transaction; again is harmless.

        `progress` is how far files are read, `records` are the (path, page_id) that were taken from files.
        """
        with self._transaction():
            for task, settled in items:
                self._db.execute(
                    "INSERT OR IGNORE INTO urls "
                    "(url, host, source, kind, depth, referrer, scope, hops, priority, state) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, 'done')",
                    (
                        task.url, task.host, task.source, task.kind, task.depth, task.referrer, task.scope,
                        PRIORITY[task.kind],
                    ),
                )  # fmt: skip
                self._settle(settled)
            self.readings.advance(progress, records)
            self._db.execute("UPDATE segments SET state = 'applied' WHERE sha256 = ? AND state = 'sealed'", (sha256,))

    def published(self, sha256: str) -> None:
        """Forget a segment whose batch stands in the ledger."""
        self._db.execute("DELETE FROM segments WHERE sha256 = ?", (sha256,))

    def unpublished(self) -> list[tuple[str, str, str]]:
        """Return (sha256, staged file name, state) of segments that a crash kept from the ledger."""
        return list(self._db.execute("SELECT sha256, staged, state FROM segments ORDER BY rowid"))

    def renew(self, changes: Mapping[str, float]) -> None:
        """Queue the pages that their list says changed after they were last asked for."""
        with self._transaction():
            for url, changed in changes.items():
                row = self._db.execute(
                    "UPDATE urls SET state = 'queued', hops = 0, target = NULL WHERE url = ? AND state = 'done' "
                    "AND fetched_at < ? RETURNING host",
                    (url, changed),
                ).fetchone()
                if row:
                    self.fresh.add(row[0])

    def restore(self, tasks: Iterable[tuple[Task, Settled]]) -> None:
        """Fill a lost frontier from the tables, so that nothing known is stored twice."""
        self.applied("", tasks)
