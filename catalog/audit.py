"""Compare what a home says of itself: ledger against tables, shards against their names, indexes against tables."""

import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files, sql, vector_manifest
from catalog.errors import Corrupt
from catalog.home import Home, View
from catalog.keys import KeyIndex
from catalog.ledger import State
from catalog.schema import KEYS, TABLES

SHARD = re.compile(r"\d{6}-([0-9a-f]{16})\.parquet")
Counts = dict[tuple[str, str], int]  # rows by (batch, reason); the reason is '' outside `rejects`
DIFFERENT = """
    SELECT url FROM (
        SELECT * FROM (SELECT url, key, row FROM main.keys JOIN main.files USING (file)
                       WHERE url IN (SELECT url FROM b.files)
                       EXCEPT SELECT url, key, row FROM b.keys JOIN b.files USING (file))
        UNION ALL
        SELECT * FROM (SELECT url, key, row FROM b.keys JOIN b.files USING (file)
                       EXCEPT SELECT url, key, row FROM main.keys JOIN main.files USING (file))
    ) GROUP BY url ORDER BY url"""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    ok: bool
    detail: str


def verdict(check: str, problems: Sequence[str], fine: str) -> Finding:
    """Name the first problems, or say what was found fine."""
    if not problems:
        return Finding(check, True, fine)
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return Finding(check, False, "; ".join(problems[:5]) + more)


def ledger(state: State) -> Finding:
    """Check that the ledger counts without gaps, names only batches it knows, and that every input's books close."""
    problems = []
    seqs = [row.seq for row in state.rows]
    if seqs != list(range(1, len(seqs) + 1)):
        gap = next(at for at, seq in enumerate(seqs, 1) if at != seq)
        problems.append(f"sequence numbers break at {gap}")
    twice = [
        batch for batch, times in Counter(r.batch_id for r in state.rows if r.kind == "publish").items() if times > 1
    ]
    problems += [f"batch {batch} was published twice" for batch in twice]
    for row in state.published.values():
        where = f"{row.stage} batch {row.batch_id}"
        for item in row.inputs:
            accounted = item.num_processed + item.num_rejected + item.num_reused + item.num_skipped
            if item.num_in != accounted:
                problems.append(
                    f"{where}: {item.num_in} rows of {item.batch_id} came in, {accounted} are accounted for"
                )
            if item.batch_id not in state.published and row.origins != (row.batch_id,):
                problems.append(f"{where} consumed {item.batch_id}, which nobody published")
        rejected, by_reason = sum(item.num_rejected for item in row.inputs), sum(row.rejects.values())
        if rejected != by_reason:
            problems.append(f"{where}: {rejected} rows rejected, {by_reason} of them by reason")
    return verdict("ledger", problems, f"{len(state.published)} batches, the books of every input close")


def shards(home: Home, view: View) -> tuple[Finding, set[str]]:
    """Check that every data file is there and holds the bytes that its name promises; return also which do not."""
    urls = [url for table in TABLES for url in view.urls(table)]
    with ThreadPoolExecutor(8) as pool:
        wrong = [(url, said) for url, said in zip(urls, pool.map(_damage, urls), strict=True) if said]
    problems = [f"{_below(home, url)} {said}" for url, said in wrong]
    return verdict("shards", problems, f"{len(urls)} data files match their names"), {url for url, _ in wrong}


def _damage(url: str) -> str | None:
    fs, path = files.open_fs(url)
    named = SHARD.fullmatch(url.rpartition("/")[2])
    try:
        with fs.open(path, "rb") as file:
            if named is None:  # not one of ours by name, such as a compacted file: is it Parquet at all?
                pq.read_metadata(file)
                return None
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except (OSError, pa.ArrowInvalid) as error:
        return f"cannot be read: {error}"
    return None if digest.startswith(named[1]) else "does not match the SHA-256 in its name"


def rows(view: View, damaged: set[str]) -> list[Finding]:
    """Check that tables hold what the ledger says, batch by batch, and count what unfinished work left in them."""
    published = view.state.published
    problems: list[str] = []
    strays: dict[str, set[str]] = defaultdict(set)
    num_rows = num_strays = 0
    for table in TABLES:
        urls = [url for url in view.urls(table) if url not in damaged]
        found = count_rows(table, urls)
        said = _said(view.state, table)
        num_rows += sum(found.values())
        for batch, reason in sorted(found.keys() | said.keys()):
            key = (batch, reason)
            if batch not in published:
                strays[table].add(batch)
                num_strays += found[key]
            elif found.get(key, 0) != said.get(key, 0):
                what = f"{table} ({reason})" if reason else table
                problems.append(
                    f"{published[batch].stage} batch {batch}: the ledger says {said.get(key, 0)} rows of {what}, "
                    f"the table holds {found.get(key, 0)}"
                )
    left = ", ".join(f"{table}: {', '.join(sorted(batches))}" for table, batches in strays.items())
    unfinished = f"{num_strays} rows of unpublished batches, which no reader sees ({left})" if strays else "none"
    return [
        verdict("rows", problems, f"{num_rows - num_strays} rows, as the ledger says"),
        Finding(
            "unfinished work",
            True,
            unfinished + ("; the next run finishes them, or nobody ever reads them" if strays else ""),
        ),
    ]


def count_rows(table: str, urls: Sequence[str]) -> Counts:
    if not urls:
        return {}
    reason = "reason" if table == "rejects" else "''"
    with closing(duckdb.connect()) as db:
        if not files.is_local(urls[0]):
            db.register_filesystem(files.open_fs(urls[0])[0])
        query = f"SELECT batch_id, {reason}, count(*) FROM read_parquet({sql.file_list(urls)}) GROUP BY ALL"  # noqa: S608
        return {(batch, why or ""): int(count) for batch, why, count in db.execute(query).fetchall()}


def _said(state: State, table: str) -> Counts:
    if table == "rejects":
        return {(row.batch_id, why): n for row in state.published.values() for why, n in row.rejects.items() if n}
    counts = {(row.batch_id, ""): row.outputs.get(table, 0) for row in state.published.values()}
    return {key: count for key, count in counts.items() if count}


def key_index(home: Home, view: View, damaged: set[str]) -> Finding:
    """Build the key index anew beside it and compare; files that it does not hold yet, or are damaged, do not count."""
    path = home.root / "indexes" / "keys.db"
    if not path.is_file():
        return Finding("key index", True, "not built yet; the first lookup builds it")
    try:
        held = {table: home.index.held(table) & set(view.urls(table)) - damaged for table in KEYS}
        with TemporaryDirectory() as folder:
            aside = KeyIndex(Path(folder) / "keys.db")
            for table, urls in held.items():
                aside.refresh(table, urls)
            aside.close()
            wrong = _different(path, Path(folder) / "keys.db")
    except Corrupt as error:
        return Finding("key index", False, str(error).removesuffix("; run headrace doctor --repair"))
    except sqlite3.DatabaseError as error:
        return Finding("key index", False, f"{path}: {error}")
    problems = [f"{_below(home, url)} is indexed wrongly" for url in wrong]
    return verdict("key index", problems, f"agrees with {sum(map(len, held.values()))} data files")


def _different(path: Path, other: Path) -> list[str]:
    with closing(sqlite3.connect(path, timeout=60)) as db:
        db.execute("ATTACH ? AS b", (str(other),))
        return [row[0] for row in db.execute(DIFFERENT)]


def rebuild_key_index(home: Home) -> None:
    """Throw the key index away and build it from the tables."""
    if "index" in vars(home):
        home.index.close()
        del home.index
    path = home.root / "indexes" / "keys.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    view = home.view()
    for table in KEYS:
        home.index.refresh(table, view.urls(table))


def vector_indexes(home: Home, state: State) -> Finding:
    """Check each vector index's files against its manifest, and that it holds published batches only."""
    found = list(vector_manifest.manifests(home.root / "indexes"))
    problems = [f"{_below(home, str(path))}: {said}" for path, said in _vector_problems(found, state)]
    return verdict("vector indexes", problems, f"{len(found)} match their manifests" if found else "none built yet")


def drop_vector_indexes(home: Home, state: State) -> None:
    """Remove the vector indexes that are damaged; the next search builds them again."""
    for path, _ in _vector_problems(vector_manifest.manifests(home.root / "indexes"), state):
        vector_manifest.drop(path)


def _vector_problems(found: Iterable[Path], state: State) -> Iterator[tuple[Path, str]]:
    published = frozenset(state.published)
    for path in found:
        if said := vector_manifest.problem_of(path, published):
            yield path, said


def _below(home: Home, url: str) -> str:
    """Name a file by its place in the home or the warehouse."""
    for place in (home.warehouse, str(home.root)):
        url = url.removeprefix("file://").removeprefix(place.rstrip("/") + "/")
    return url
