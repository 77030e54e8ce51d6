"""Build a table anew, without its Iceberg metadata, from what lies on disk: the ledger's files and the parts' records.

The ledger's files are linked (each names the one before it), so the chain from the greatest seq backwards is what was
committed; files of commits that were lost hang beside it. A published batch's rows are in the shards that its parts'
records name, or in large files that compaction wrote; both are named by their own SHA-256 and are checked.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from catalog import audit, compact, files, integrity, ledger
from catalog.errors import Corrupt
from catalog.files import Found, listing
from catalog.ledger import LINK, Ledger, Row, State
from catalog.pins import Pins
from catalog.settings import CatalogSettings
from catalog.shards import MANIFEST
from catalog.store import Store

CHUNK = 500  # files added in one commit


def set_aside(path: Path) -> None:
    """Rename a database that cannot be used, with its journals; what it said can still be looked at."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(path.with_name(f"{path.name}.damaged-{stamp}{suffix}"))


def rebuild(root: Path, warehouse: str, settings: CatalogSettings, broken: Iterable[str]) -> list[str]:
    """Make these tables anew; return one line on each. Raise Corrupt if the ledger's own files are incomplete."""
    names = set(broken)
    store = Store(root, warehouse, settings.catalog)
    try:
        said = []
        if "batches" in names:
            state, urls = read_ledger(warehouse)
            _replace(store, "batches", urls)
            said.append(f"batches: rebuilt, {len(state.rows)} rows")
        state = Ledger(Pins(root, warehouse, settings.catalog, lambda: store)).refresh()
        names |= audit.lost_tables(state, store.names())
        for name in sorted(names - {"batches"}):
            urls, lost = sources(warehouse, name, state)
            _replace(store, name, urls)
            missing = f"; {', '.join(lost[:3])} could not be found whole: restore from a backup" if lost else ""
            said.append(f"{name}: rebuilt from {len(urls)} files{missing}")
        return said
    finally:
        store.close()


def _replace(store: Store, name: str, urls: list[str]) -> None:
    store.forget(name)
    for start in range(0, len(urls), CHUNK):
        store.load(name).add_files(urls[start : start + CHUNK], check_duplicate_files=False)


def read_ledger(warehouse: str) -> tuple[State, list[str]]:
    """Follow the ledger's files from the newest back; return its state and the files that it consists of."""
    read = {}
    for found in listing(files.join(warehouse, "data", "batches")):
        if integrity.shard(found) is None:
            fs, path = files.open_fs(found.url)
            with fs.open(path, "rb") as file:
                table = pq.read_table(file)
            link = (table.schema.metadata or {}).get(LINK)
            if link is not None:
                read[found.url.rpartition("/")[2]] = (found.url, ledger.from_table(table), link.decode())
    if not read:
        raise Corrupt(f"{warehouse}: no file of the ledger can be read; restore the home from a backup")
    name = max(read, key=lambda name: (max(row.seq for row in read[name][1]), name))
    rows: list[Row] = []
    urls: list[str] = []
    while name:
        if name not in read:
            raise Corrupt(f"{warehouse}/data/batches/{name}: is damaged or missing; restore it from a backup")
        url, found_rows, name = read[name]
        rows += found_rows
        urls.append(url)
    return State(rows), sorted(urls)


def sources(warehouse: str, table: str, state: State) -> tuple[list[str], list[str]]:
    """Return the files that hold a table's published rows, each row once, and the batches that are not there whole."""
    wanted = {batch: rows for batch, row in state.published.items() if (rows := _said(row, table))}
    urls: list[str] = []
    left = dict(wanted)
    for found, counts in _large(warehouse, table):
        if all(left.get(batch) == rows for batch, rows in counts.items()):
            urls += found
            for batch in counts:
                del left[batch]
    lost = []
    for batch, rows in sorted(left.items()):
        shards = dict(_parts(warehouse, table, batch))
        if sum(count for _, count in shards.values()) == rows:
            urls += [url for url, _ in shards.values()]
        else:
            lost.append(f"batch {batch}")
    return sorted(urls), lost


def _said(row: Row, table: str) -> int:
    return sum(row.rejects.values()) if table == "rejects" else row.outputs.get(table, 0)


def _large(warehouse: str, table: str) -> Iterator[tuple[list[str], Mapping[str, int]]]:
    """Yield each group of files that compaction wrote together, the largest first, with its rows by batch."""
    groups: dict[str, list[str]] = defaultdict(list)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for found in listing(files.join(warehouse, "data", table, compact.FOLDER)):
        told = compact.read_manifest(found.url) if integrity.shard(found) is None else None
        if told is not None:
            group = str(told["group"])
            groups[group].append(found.url)
            counts[group].update(told["rows"])
    for group in sorted(groups, key=lambda name: (-sum(counts[name].values()), name)):
        yield groups[group], counts[group]


def _parts(warehouse: str, table: str, batch: str) -> Iterator[tuple[int, tuple[str, int]]]:
    """Yield each part of a batch whose shard is whole: its number, the shard's URL and rows."""
    for record in listing(files.join(warehouse, "data", "rejects", batch)):
        if integrity.shard(record) is not None:
            continue
        fs, path = files.open_fs(record.url)
        with fs.open(path, "rb") as file:
            metadata = pq.read_metadata(file)
        told = json.loads((metadata.metadata or {}).get(MANIFEST, b"{}"))
        name = record.url.rpartition("/")[2]
        if table == "rejects":
            url, rows = record.url, metadata.num_rows
        elif table in told.get("shards", {}):  # its place may have changed with its home, its name has not
            url = files.join(warehouse, "data", table, batch, told["shards"][table].rpartition("/")[2])
            rows = told["rows"][table]
        else:
            continue
        if rows and integrity.shard(Found(url, 0, 0)) is None:
            yield int(name.partition("-")[0]), (url, rows)
