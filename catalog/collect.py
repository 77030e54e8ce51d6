"""Garbage collection: files that nothing reaches any more, or that a dead process left, once they are old enough.

Nothing younger than the grace period is touched, nothing that a table's metadata reaches, nothing of a batch that a
living driver works on, and no shard of a published batch unless its table holds all its rows elsewhere.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from catalog import failpoint, files, lease
from catalog.audit import count_rows
from catalog.compact import FOLDER, data_files, read_manifest
from catalog.erase import take_out
from catalog.home import Home, View
from catalog.ledger import Row
from catalog.schema import TABLES
from catalog.settings import MaintenanceSettings

ASIDE = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # see files.replace and files.write_new
INDEX_SUFFIXES = (".faiss", ".parquet")


@dataclass
class Collector:
    """Finds and removes; with `dry_run` only finds."""

    home: Home
    settings: MaintenanceSettings
    now: float
    dry_run: bool = False
    removed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def run(self) -> dict[str, dict[str, int]]:
        """Remove everything that can go; return files and bytes by kind."""
        self.temporary_files()
        self._index_files()
        leased: Iterable[str]
        with lease.collecting(self.home.root) as leased:
            self.unpublished(frozenset(leased))
        for table in ("batches", *TABLES):
            self._metadata(table)
            self._data(table)
        return {kind: dict(counts) for kind, counts in sorted(self.removed.items())}

    @property
    def _old(self) -> float:
        return self.now - self.settings.grace_hours * 3600

    @property
    def _retained(self) -> float:
        return self.now - self.settings.retention_hours * 3600

    def _remove(self, kind: str, found: files.Found) -> None:
        self.removed[kind].update(files=1, bytes=found.size)
        if not self.dry_run:
            failpoint.reach("maintain-remove")
            files.remove(found.url)

    def temporary_files(self) -> None:
        """What a killed process was writing aside."""
        for place in {str(self.home.root), self.home.warehouse}:
            if files.is_local(place):
                paths = (path for path in _walk(files.local_path(place)) if ASIDE.fullmatch(path.name))
                self._remove_old("temporary files", paths)

    def _index_files(self) -> None:
        """Files of vector indexes that no manifest names: a killed process had not written it yet."""
        folder = self.home.root / "indexes" / "vectors"
        named = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in folder.glob("*.json"))
        paths = (path for path in folder.glob("*") if path.suffix in INDEX_SUFFIXES and path.name not in named)
        self._remove_old("index files", paths)

    def _remove_old(self, kind: str, paths: Iterable[Path]) -> None:
        for path in paths:
            with suppress(FileNotFoundError):  # the process that wrote it may just have put it in place
                told = path.stat()
                if told.st_mtime < self._old:
                    self._remove(kind, files.Found(str(path), told.st_size, told.st_mtime))

    def unpublished(self, leased: frozenset[str]) -> None:
        """Parts and committed rows of batches that nobody published, whose driver is gone."""
        published = self.home.ledger.refresh().published
        shards = self._shards()
        youngest: dict[str, float] = defaultdict(float)
        for batch, found in shards:
            youngest[batch] = max(youngest[batch], found.modified)
        gone = {
            batch for batch, modified in youngest.items()
            if batch not in published and batch not in leased and modified < self._old
        }  # fmt: skip
        if gone and not self.dry_run:
            for table in TABLES:
                take_out(self.home, table, gone)
        reached = set().union(*(self.home.store.reached(table) for table in TABLES)) if gone else set()
        for batch, found in shards:
            if batch in gone and (self.dry_run or found.url not in reached):
                self._remove("unfinished work", found)

    def _shards(self) -> list[tuple[str, files.Found]]:
        return [
            (batch, found)
            for table in TABLES
            for found in files.listing(files.join(self.home.warehouse, "data", table))
            if (batch := found.url.rsplit("/", 2)[1]) != FOLDER
        ]

    def _metadata(self, table: str) -> None:
        """Manifests, manifest lists and metadata of snapshots that are expired, or of commits that were lost."""
        reached = self.home.store.reached(table)
        folder = files.join(self.home.warehouse, "tables", table)
        for found in files.listing(folder):
            url = found.url.removesuffix(files.DIGEST)
            if url not in reached and found.modified < self._old:
                self._remove("table metadata", found)

    def _data(self, table: str) -> None:
        """Shards that compaction replaced, or that lost a race, once their table holds the batch's rows elsewhere."""
        keep = self._needed(
            table
        )  # from a ledger that is read before what is reached: then none of it is missing there
        reached = self.home.store.reached(table)
        for found in files.listing(files.join(self.home.warehouse, "data", table)):
            if found.url not in reached and found.modified < self._old and not keep(found.url):
                self._remove("replaced shards", found)

    def _needed(self, table: str) -> Callable[[str], bool]:
        """Return a function that tells whether a file that no table reaches must stay."""
        if table == "batches":
            return lambda _: False  # what a lost race or the ledger's own compaction left
        view = self.home.view()
        present = {file.url: file.batches for file in data_files(self.home.store.load(table))}
        counts: Counter[str] = Counter()
        for (batch, _), rows in count_rows(table, list(present)).items():
            counts[batch] += rows
        folder = files.join(self.home.warehouse, "data", table, FOLDER)
        young = {item.url for item in files.listing(folder) if item.modified > self._retained}
        recent = {batch for url, batches in present.items() if url in young for batch in batches}
        whole = {
            batch for batch, row in view.state.published.items()
            if batch not in recent and counts[batch] == _said(row, table) and self._is_merged(table, batch, view)
        }  # fmt: skip

        def needed(url: str) -> bool:
            batch = url.rsplit("/", 2)[1]
            told = read_manifest(url) if batch == FOLDER else None
            return not whole.issuperset(told["rows"] if told else [batch])

        return needed

    def _is_merged(self, table: str, batch: str, view: View) -> bool:
        """Tell, of a part's record, whether all tables hold the batch in large files: else it is needed for repairs."""
        if table != "rejects":
            return True
        row = view.state.published[batch]
        written = [name for name in (*row.outputs, "rejects") if _said(row, name)]
        return bool(written) and not any(f"/data/{name}/{batch}/" in url for name in written for url in view.urls(name))


def _said(row: Row, table: str) -> int:
    return sum(row.rejects.values()) if table == "rejects" else row.outputs.get(table, 0)


def _walk(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name)
