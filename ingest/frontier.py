"""The frontier: every URL ever seen, what is to be asked next, and what came of the last time (SQLite, WAL).

A URL is `queued`, `leased` (in flight, or fetched into a segment that is not sealed yet), `done`, `held` (known, but
outside the scope, depth or limits of its source, or a trap) or `dead` (gone too often to be asked again). Only what a
sealed segment holds, and outcomes that bring nothing new, mark a URL done; so after a crash the frontier can be brought
up to date from the segments.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from catalog.schema import Reason
from catalog.tombstones import NOTHING, Forgotten
from ingest.admission import Admission, Candidate, Refusal
from ingest.partition import WHOLE, Partition
from ingest.readings import Readings
from ingest.schedule import MAX_LEVEL, QUEUE_CHANGED, QUEUE_DUE, SETTLE_FAILED, SETTLE_GONE, SETTLE_OK, due_before
from ingest.settings import NetworkSettings
from ingest.source_settings import Source
from ingest.urls import host_of

Kind: TypeAlias = Literal["page", "media", "sitemap", "feed"]

OK = "ok"
PRIORITY = {"sitemap": 0, "feed": 0, "page": 1, "media": 2}
WAL_PAGES = 25_000  # 100 MB of log, after which a commit copies it back itself; `checkpoint` does so before

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
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL, host TEXT NOT NULL, source TEXT NOT NULL,
    kind TEXT NOT NULL, depth INTEGER NOT NULL, referrer TEXT, scope TEXT NOT NULL, hops INTEGER NOT NULL
);
CREATE TEMP TABLE active (source TEXT PRIMARY KEY);
"""
ADDED = {
    "level": "INTEGER NOT NULL DEFAULT 0",  # how often the wait until the next visit was raised: see schedule
    "gone": "INTEGER NOT NULL DEFAULT 0",  # times in a row that it was gone
    "rights": "TEXT",  # rights and licence as they are stored
}
INDEXES = """
CREATE INDEX IF NOT EXISTS urls_due ON urls (level, fetched_at) WHERE state = 'done';
CREATE INDEX IF NOT EXISTS urls_held ON urls (source, depth, seq) WHERE state = 'held';
"""
COLUMNS = (
    "url", "host", "source", "kind", "depth", "referrer", "scope", "hops", "outcome", "etag", "last_modified",
    "payload_sha256", "rights",
)  # fmt: skip
FOUND = COLUMNS[:8]


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
    rights: str | None = None


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
    rights: str | None = None


class Frontier:
    """One SQLite file, used from one thread of one process at a time."""

    def __init__(
        self, path: Path, network: NetworkSettings, partition: Partition = WHOLE, forgotten: Forgotten = NOTHING
    ) -> None:
        self.path = path
        self.forgotten = forgotten
        self._network = network
        self.partition = partition
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; `sealed` syncs the rest
        self._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        self._db.executescript(SCHEMA)
        present = {row[1] for row in self._db.execute("PRAGMA table_info(urls)")}
        for name, kind in ADDED.items():
            if name not in present:  # a home of an earlier version
                self._db.execute(f"ALTER TABLE urls ADD COLUMN {name} {kind}")
        self._db.executescript(INDEXES)
        self.readings = Readings(self._db)
        self._admission = Admission(self._db, network.traps)
        self.fresh: set[str] = set()  # hosts for which something was queued since the caller last took them

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._admission.save()
        except BaseException:
            self._db.execute("ROLLBACK")
            self._admission.forget()
            raise
        self._db.execute("COMMIT")

    def is_empty(self) -> bool:
        """Say whether no URL was ever seen."""
        return self._db.execute("SELECT 1 FROM urls LIMIT 1").fetchone() is None

    def begin(self, sources: Sequence[Source], now: float) -> None:
        """Start a run: return leases, queue what is due, and let in what the limits of earlier runs kept out."""
        self._admission.begin(sources, now)
        self._began = now  # `renew` brings back nothing that was fetched since
        self.activate(source.url for source in sources)
        with self._transaction():
            self._db.execute("UPDATE urls SET state = 'queued' WHERE state = 'leased'")
            for level in range(MAX_LEVEL + 1):
                self._db.execute(QUEUE_DUE, (level, due_before(now, level, self._network)))
            for source in sources:
                self._release(source)

    def _release(self, source: Source) -> None:
        """Queue held URLs of a source that its depth and limits let in by now."""
        for media, limit in ((False, source.max_pages), (True, source.max_media)):
            held = self._db.execute(
                "SELECT url, host, source, depth, scope FROM urls WHERE state = 'held' AND source = ? "
                "AND (kind = 'media') = ? AND depth <= ? AND outcome IN (?, ?, ?) ORDER BY depth, seq LIMIT ?",
                (
                    source.url, media, source.depth + media, Reason.TOO_DEEP, Reason.PAGE_LIMIT, Reason.URL_LIMIT,
                    limit,
                ),
            ).fetchall()  # fmt: skip
            for url, host, name, depth, scope in held:
                found = Candidate(url, host, name, media, depth, scope)
                if self._admission.refusal(found) is None:
                    self._admission.count(found)
                    self._db.execute(
                        "UPDATE urls SET state = 'queued', outcome = NULL, detail = NULL WHERE url = ?", (url,)
                    )

    def activate(self, sources: Iterable[str]) -> None:
        """Let `lease` take URLs of these sources and of no others."""
        self._db.execute("DELETE FROM active")
        self._db.executemany("INSERT OR IGNORE INTO active VALUES (?)", [(source,) for source in sources])

    def suspend(self, source: str) -> None:
        """Keep `lease` from a source's URLs until `activate`."""
        self._db.execute("DELETE FROM active WHERE source = ?", (source,))

    def waiting(self, sources: Iterable[str]) -> list[str]:
        """Return those of the sources that have something queued."""
        query = "SELECT 1 FROM urls WHERE state = 'queued' AND source = ? LIMIT 1"
        return [source for source in sources if self._db.execute(query, (source,)).fetchone()]

    def seed(self, source: Source, url: str, kind: Kind, host: str) -> None:
        """Queue the entry of a source, whatever its state; seeds are asked again in every run."""
        if self.forgotten.url(url):
            return
        self._db.execute(
            "INSERT INTO urls (url, host, source, kind, depth, scope, priority, state) "
            "VALUES (?, ?, ?, ?, 0, ?, ?, 'queued') ON CONFLICT (url) DO UPDATE SET state = 'queued', depth = 0, "
            "kind = excluded.kind, source = excluded.source, scope = excluded.scope, hops = 0, target = NULL",
            (url, host, source.url, kind, host, PRIORITY[kind]),
        )

    def admit(self, parent: Task, urls: Iterable[str], kind: Kind) -> None:
        """Record the URLs that a page points to: queue those within scope, depth and limits, hold the others."""
        with self._transaction():
            for url in urls:
                host = host_of(url)
                scope = host if not parent.scope and kind == "page" else parent.scope
                self._found(Task(url, host, parent.source, kind, parent.depth + 1, parent.url, scope, 0))

    def redirect(self, task: Task, target: str, scope: str) -> None:
        """Queue the target of a redirect, as deep as the URL that led there."""
        with self._transaction():
            self._db.execute("UPDATE urls SET target = ? WHERE url = ?", (target, task.url))
            self._found(
                Task(target, host_of(target), task.source, task.kind, task.depth, task.url, scope, task.hops + 1)
            )

    def _found(self, task: Task) -> None:
        """Queue, hold or pass on one URL; where a redirect leads was judged by the one that led there."""
        if self.forgotten.url(task.url):
            return
        if not self.partition.owns(task.host):
            marks = ", ".join("?" * len(FOUND))
            self._db.execute(f"INSERT INTO outbox ({', '.join(FOUND)}) VALUES ({marks})", astuple(task)[: len(FOUND)])  # noqa: S608
            return
        found = Candidate(task.url, task.host, task.source, task.kind == "media", task.depth, task.scope)
        refusal = None if task.hops else self._admission.refusal(found)
        if self._insert(task, refusal) and refusal is None:
            self.fresh.add(task.host)
            if not task.hops:
                self._admission.count(found)

    def outgoing(self, limit: int, after: int = 0) -> list[tuple[int, Task]]:
        """Return the next URLs that belong to other partitions, each with the number that `delivered` takes."""
        query = f"SELECT seq, {', '.join(FOUND)} FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608
        return [(row[0], Task(*row[1:])) for row in self._db.execute(query, (after, limit))]

    def delivered(self, last: int) -> None:
        """Forget the outgoing URLs up to a number: their partitions have them."""
        self._db.execute("DELETE FROM outbox WHERE seq <= ?", (last,))

    def receive(self, tasks: Iterable[Task]) -> None:
        """Take in URLs that other partitions found; the same again is harmless."""
        with self._transaction():
            for task in tasks:
                if self._admission.knows(task.source):
                    self._found(task)

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

    def _insert(self, task: Task, refusal: Refusal | None) -> bool:
        """Record a URL that is new, or held and now let in; return False where nothing changed."""
        inserted = self._db.execute(
            "INSERT INTO urls "
            "(url, host, source, kind, depth, referrer, scope, hops, priority, state, outcome, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE SET state = excluded.state, "
            "depth = excluded.depth, source = excluded.source, scope = excluded.scope, referrer = excluded.referrer, "
            "host = excluded.host, outcome = NULL, detail = NULL WHERE excluded.state = 'queued' "
            "AND (urls.state = 'held' OR urls.host = '') RETURNING seq",  # a host of '' came from a local file
            (
                task.url, task.host, task.source, task.kind, task.depth, task.referrer, task.scope, task.hops,
                PRIORITY[task.kind], "held" if refusal else "queued",
                refusal and refusal.reason, refusal and refusal.detail,
            ),
        ).fetchone()  # fmt: skip
        return inserted is not None

    def hosts(self, now: float, after: str = "", limit: int = -1) -> list[str]:
        """Return hosts after `after`, in order, that have something queued and have not asked for a pause."""
        rows = self._db.execute(
            # a jump through the index from host to host, however many URLs each has
            "WITH RECURSIVE found (host) AS ("
            "SELECT min(host) FROM urls WHERE state = 'queued' AND host > ? UNION ALL "
            "SELECT (SELECT min(host) FROM urls WHERE state = 'queued' AND host > found.host) FROM found "
            "WHERE found.host IS NOT NULL) "
            "SELECT host FROM found WHERE host IS NOT NULL "
            "AND host NOT IN (SELECT host FROM hosts WHERE not_before > ?) "
            "AND EXISTS (SELECT 1 FROM urls JOIN active USING (source) WHERE state = 'queued' "
            "AND urls.host = found.host) LIMIT ?",
            (after, now, limit),
        )
        return [host for (host,) in rows]

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
        """Leave a host alone until a time, in this run and in later ones; of several the last counts."""
        self._db.execute(
            "INSERT INTO hosts VALUES (?, ?) "
            "ON CONFLICT (host) DO UPDATE SET not_before = max(not_before, excluded.not_before)",
            (host, until),
        )

    def settle(self, settled: Settled) -> None:
        """Mark a visit that needs no record as done: nothing changed, or it brought links only."""
        self._settle(settled)

    def _settle(self, item: Settled) -> None:
        sql = SETTLE_OK if item.outcome == OK else SETTLE_FAILED
        if item.outcome == Reason.NOT_FOUND:
            sql = SETTLE_GONE
        self._db.execute(sql, {**vars(item), "drop_after": self._network.drop_after})

    def known(self, url: str) -> tuple[str | None, str | None, str | None]:
        """Return the last outcome, validator and payload hash of a URL, Nones where it was never seen."""
        row = self._db.execute("SELECT outcome, etag, payload_sha256 FROM urls WHERE url = ?", (url,)).fetchone()
        return row or (None, None, None)

    def sealed(self, sha256: str, staged: str) -> None:
        """Record a segment that is safe on disk; everything written before is safe too once this returns."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("INSERT OR IGNORE INTO segments VALUES (?, ?, 'sealed')", (sha256, staged))
        self._db.execute("PRAGMA synchronous = NORMAL")

    def settle_many(self, items: Iterable[tuple[Task, Settled]]) -> None:
        """Mark some of what a sealed segment holds as done; again is harmless, `applied` ends it."""
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

    def applied(
        self,
        sha256: str,
        items: Iterable[tuple[Task, Settled]],
        progress: Mapping[str, int] = MappingProxyType({}),
        records: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Mark (the rest of) what a sealed segment holds as done, and the segment itself; again is harmless.

        `progress` is how far files are read, `records` are the (path, page_id) that were taken from files.
        """
        self.settle_many(items)
        with self._transaction():
            self.readings.advance(progress, records)
            self._db.execute("UPDATE segments SET state = 'applied' WHERE sha256 = ? AND state = 'sealed'", (sha256,))

    def published(self, sha256: str) -> None:
        """Forget a segment whose batch stands in the ledger."""
        self._db.execute("DELETE FROM segments WHERE sha256 = ?", (sha256,))

    def unpublished(self) -> list[tuple[str, str, str]]:
        """Return (sha256, staged file name, state) of segments that a crash kept from the ledger."""
        return list(self._db.execute("SELECT sha256, staged, state FROM segments ORDER BY rowid"))

    def renew(self, lister: Task, changes: Mapping[str, float]) -> None:
        """Queue the pages that a list says changed after they were last asked for, in an earlier run.

        A list speaks for its host and for what its source found; a date to come says nothing until it has come.
        """
        now = time.time()
        come = {url: min(changed, self._began) for url, changed in changes.items() if changed <= now}
        with self._transaction():
            for url, changed in come.items():
                arguments = (url, changed, lister.source, lister.host)
                self.fresh.update(host for (host,) in self._db.execute(QUEUE_CHANGED, arguments))

    def restore(self, tasks: Iterable[tuple[Task, Settled]]) -> None:
        """Fill a lost frontier from the tables, so that nothing known is stored twice."""
        self.applied("", tasks)


def checkpoint(path: Path) -> None:
    """Copy a frontier's log back into its file, as far as that disturbs nobody; for a thread beside the writer's."""
    db = sqlite3.connect(path, timeout=5)
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    finally:
        db.close()
