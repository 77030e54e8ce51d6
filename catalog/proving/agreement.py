"""What must hold of every home, whatever happened to it: ledger, tables, shards and key index tell one story."""

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.home import Home
from catalog.schema import KEYS, ROW_ID, TABLES
from catalog.shards import MANIFEST

TOY_TABLES = ("pages", "documents", "media", "text_features", "examples", "rejects")


def canonical(table: pa.Table) -> list[str]:
    """Return rows as sorted JSON, so that two tables compare as bags of rows."""
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in table.to_pylist())


def live_rows(home: Home, tables: tuple[str, ...] = TOY_TABLES) -> dict[str, list[str]]:
    """Return all live rows by table; examples go without batch_id, since batches depend on who joined what."""
    view = home.view()
    return {
        name: canonical(view.read(name, [c for c in TABLES[name].names if name != "examples" or c != "batch_id"]))
        for name in tables
    }


def check_agreement(home: Home, tables: tuple[str, ...] = TOY_TABLES) -> None:
    """Assert that ledger, tables and key index agree, and that the books of every input close."""
    view = home.view()
    seqs = [row.seq for row in view.state.rows]
    assert seqs == list(range(1, len(seqs) + 1)), "sequence numbers have gaps or repeat"
    publishes = [row.batch_id for row in view.state.rows if row.kind == "publish"]
    assert len(publishes) == len(set(publishes)), "a batch was published twice"
    for name in tables:
        table = home.store.load(name)
        counts = Counter(table.scan(selected_fields=("batch_id",)).to_arrow()["batch_id"].to_pylist())
        for row in view.state.published.values():
            said = sum(row.rejects.values()) if name == "rejects" else row.outputs.get(name, 0)
            assert counts.get(row.batch_id, 0) == said, f"{row.stage} batch {row.batch_id}: {name}"
        if name in KEYS:
            check_index(home, name)
    for row in view.state.published.values():
        for item in row.inputs:
            total = item.num_processed + item.num_rejected + item.num_reused + item.num_skipped
            assert item.num_in == total, f"{row.stage} batch {row.batch_id} lost rows of {item.batch_id}"


def check_index(home: Home, table: str) -> None:
    """Assert that point lookups through the key index find exactly the live rows."""
    view = home.view()
    column = ROW_ID[table]
    rows = view.read(table)
    assert canonical(view.lookup(table, column, rows[column].to_pylist())) == canonical(rows)
    assert home.index.held(table) == set(view.urls(table))


def finished_parts(warehouse: Path) -> dict[str, tuple[int, int]]:
    """Return inode and modification time of every shard of every finished part, by path."""
    found: dict[str, tuple[int, int]] = {}
    for last in (warehouse / "data" / "rejects").glob("*/*.parquet"):
        manifest = json.loads(pq.read_metadata(last).metadata[MANIFEST])
        for path in (str(last), *manifest["shards"].values()):
            status = Path(path).stat()
            found[path] = (status.st_ino, status.st_mtime_ns)
    return found
