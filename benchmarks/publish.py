"""Compare publishing a batch of five tables with a bare pyiceberg `add_files` of the same files, in turns.

`python -m benchmarks.publish [--rounds N] [--rows N] [--json]`. The shards are on disk before either clock starts. Ours
then refreshes the ledger, looks for the batch in each table, commits five tables and the ledger, notes the hash of
every metadata file, syncs it to disk and expires snapshots, once as headrace does and once keeping KEPT. Bare pyiceberg
commits five tables, syncs nothing and keeps KEPT snapshots, which are expired off the clock. Each side is a process of
its own, so that each has its own peak memory.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog import schema, store
from catalog.home import Home
from catalog.ids import batch_id, make_id
from catalog.ledger import ORIGIN
from catalog.settings import CatalogSettings
from catalog.shards import PartKey, write_part
from catalog.stage import Stage, StageReport

TABLES = ("annotations", "documents", "media", "pages", "text_features")
KEPT = 20
STAGE = Stage("crawl", (), TABLES, 1, lambda _: {}, lambda *_: StageReport("crawl"))


class Ours:
    """Publishes through the catalog, which keeps 3 to 10 snapshots, or as many as it is told."""

    def __init__(self, folder: Path, rows: int, kept: int | None = None) -> None:
        if kept is not None:
            store.KEEP_SNAPSHOTS, store.MOST_SNAPSHOTS = kept, kept  # never fewer, never more
        self._home = Home.open(CatalogSettings(root=folder / f"home-{kept}"))
        self._rows = rows

    def prepare(self, number: int) -> list[tuple[str, str]]:
        """Write the shards of one batch; return (table, path) of each."""
        name = batch_id(STAGE.name, ORIGIN, [f"batch {number}"])
        part = PartKey(name, 0, self._rows, make_id("part", f"batch {number}"), "")
        done = write_part(self._home.warehouse, part, make_tables(number, self._rows), TABLES)
        return sorted(done.shards.items())

    def commit(self, number: int) -> None:
        """Publish the batch whose shards are on disk."""
        report = self._home.publish_origin(STAGE, f"batch {number}", self._rows, {}, {})
        assert report.outputs == dict.fromkeys(TABLES, self._rows), "the shards on disk were not used"


class Bare:
    """Adds files with pyiceberg alone, in its default settings."""

    def __init__(self, folder: Path, check_duplicates: bool) -> None:
        from pyiceberg.catalog.sql import SqlCatalog

        place = folder / f"bare-{check_duplicates}"
        place.mkdir()
        self._catalog = SqlCatalog("bare", uri=f"sqlite:///{place}/catalog.db", warehouse=str(place))
        self._catalog.create_namespace("bare")
        for table in TABLES:
            self._catalog.create_table(("bare", table), schema.TABLES[table])
        self._check_duplicates = check_duplicates

    def prepare(self, shards: Sequence[tuple[str, str]]) -> None:
        """Expire what is more than KEPT snapshots."""
        for name in TABLES:
            table = self._catalog.load_table(("bare", name))
            old = sorted(table.snapshots(), key=lambda one: one.timestamp_ms)[:-KEPT]
            if old:
                table.maintenance.expire_snapshots().by_ids([one.snapshot_id for one in old]).commit()

    def commit(self, shards: Sequence[tuple[str, str]]) -> None:
        """Commit one batch's shards, table by table."""
        for name, url in shards:
            table = self._catalog.load_table(("bare", name))
            table.add_files([url], check_duplicate_files=self._check_duplicates)


def make_tables(number: int, rows: int) -> dict[str, pa.Table]:
    """Make `rows` rows of each table: ids, and a text of 2,000 characters where the table has one."""
    tables = {}
    for table in TABLES:
        ids = [make_id(table, str(number), str(row)) for row in range(rows)]
        columns = {schema.ROW_ID[table]: pa.array(ids)}
        if table == "documents":
            columns["text"] = pa.array([(one + " ") * 60 for one in ids])
        tables[table] = pa.table(columns)
    return tables


def serve(make: Callable[[], Any], pipe: Connection) -> None:
    """Do one side's work as it is asked for: (prepare or commit, argument) → (seconds, CPU seconds, result, MiB)."""
    side = make()
    while (asked := pipe.recv()) is not None:
        started, worked = time.perf_counter(), time.process_time()
        result = getattr(side, asked[0])(asked[1])
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
        pipe.send((seconds, cpu, result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(folder: Path, rounds: int, rows: int) -> dict[str, Any]:
    """Bring every table to KEPT snapshots, then publish `rounds` batches on each side in turns."""
    sides = {"ours": partial(Ours, folder, rows), f"ours_keeping_{KEPT}": partial(Ours, folder, rows, KEPT)}
    sides |= {"bare": partial(Bare, folder, True), "bare_unchecked": partial(Bare, folder, False)}
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, make in sides.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(make, theirs)))
        processes[-1].start()
    seconds: dict[str, list[float]] = {name: [] for name in (*sides, "write_shards")}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    peak = {}
    for number in range(KEPT + rounds):
        spent, _, shards, _ = _ask(pipes["ours"], "prepare", number)
        seconds["write_shards"].append(spent)
        for name in sides:
            if name != "ours":
                _ask(pipes[name], "prepare", number if name.startswith("ours") else shards)
            spent, worked, _, peak[name] = _ask(pipes[name], "commit", number if name.startswith("ours") else shards)
            seconds[name].append(spent)
            cpu[name].append(worked)
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(None)
        process.join()
    mean = {name: statistics.mean(found[KEPT:]) for name, found in seconds.items()}
    return {
        "tables": len(TABLES), "rows_per_table": rows, "snapshots_kept": KEPT, "rounds": rounds,
        "mean_seconds": mean,
        "median_seconds": {name: statistics.median(found[KEPT:]) for name, found in seconds.items()},
        "mean_cpu_seconds": {name: statistics.mean(found[KEPT:]) for name, found in cpu.items()},
        "ratio": mean["ours"] / mean["bare"],
        "ratio_to_unchecked": mean["ours"] / mean["bare_unchecked"],
        "peak_mib": peak,
    }  # fmt: skip


def _ask(pipe: Connection, verb: str, argument: object) -> Any:
    pipe.send((verb, argument))
    return pipe.recv()


def main(arguments: Sequence[str]) -> None:
    """Print seconds a batch of both, their ratio and each one's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=16, help="a multiple of 8: ours expires snapshots at each eighth")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.rounds, given.rows)
    print(json.dumps(found) if given.json else _table(found))


def _table(found: dict[str, Any]) -> str:
    lines = [f"{found['tables']} tables of {found['rows_per_table']} rows, {found['rounds']} batches, seconds a batch"]
    for name, seconds in found["mean_seconds"].items():
        peak = found["peak_mib"].get(name)
        worked = found["mean_cpu_seconds"].get(name)
        lines.append(f"{name:16s} {seconds:7.3f}" + (f"   CPU {worked:.3f}   peak {peak:.0f} MiB" if peak else ""))
    lines.append(f"ratio to bare {found['ratio']:.2f}, to bare without its check {found['ratio_to_unchecked']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
