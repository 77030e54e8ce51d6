"""What the crawler keeps beside the tables, and how it forgets what was taken down."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from catalog import integrity
from catalog.home import Home
from catalog.settings import Config
from catalog.tombstones import Forgotten
from ingest.crawl_job import alone, take_up_all
from ingest.partition import frontier_files

NAMES = ("referrer", "target", "source")  # columns of a URL that name another one


class CrawlKeeper:
    """The frontier, and segments that wait to be published."""

    @contextmanager
    def quiet(self, home: Home, config: Config) -> Iterator[None]:
        """Publish what an earlier crawl left and keep crawls out; raise InputError if one is at work."""
        with alone(home.root):
            take_up_all(home, config)
            yield

    def forget(self, home: Home, config: Config, forgotten: Forgotten) -> Mapping[str, int]:
        """Remove the URLs that were taken down, and those whose payload was, from every share of the frontier."""
        return {"frontier": sum(_forget(str(path), forgotten) for path in frontier_files(home.root))}

    def problems(self, root: Path) -> Iterator[str]:
        """Let SQLite look over the shares of a frontier that several processes crawl."""
        for path in frontier_files(root):
            if path.parent != root and (said := integrity.database(path)):  # else the hub has looked
                yield f"{path.relative_to(root)}: {said}"


KEEPER = CrawlKeeper()


def _forget(path: str, forgotten: Forgotten) -> int:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as db:
        db.execute("PRAGMA secure_delete = ON")
        db.create_function("gone", 1, lambda url: url is not None and forgotten.url(url), deterministic=True)
        db.create_function(
            "gone_payload", 1, lambda sha: sha is not None and forgotten.payload(sha), deterministic=True
        )
        db.execute("BEGIN IMMEDIATE")
        number = db.execute("DELETE FROM urls WHERE gone(url) OR gone_payload(payload_sha256)").rowcount
        for name in NAMES[:2]:
            db.execute(f"UPDATE urls SET {name} = NULL WHERE gone({name})")  # noqa: S608 — our columns
        db.execute("DELETE FROM outbox WHERE gone(url)")
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return number
