"""Compare what a home says of itself: ledger against tables, shards against their names, indexes against tables."""

import hashlib
import importlib.util
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from catalog import bands as band_index
from catalog import files, fulltext, integrity, sql, vector_manifest
from catalog.bands import folder_of as near_folder
from catalog.errors import Corrupt, HeadraceError
from catalog.home import Home, View, place_of
from catalog.integrity import Damage
from catalog.keys import KeyIndex
from catalog.ledger import Ledger, State
from catalog.pins import Pins
from catalog.schema import KEYS, TABLES
from catalog.settings import CatalogSettings
from catalog.store import Store

DATABASES = ("catalog.db", "frontier.db")
NAMED = 1000  # problems of one check that are listed
TOLERANCE = 0.01  # by which a sample's recall may fall short of what is asked for
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
    problems: tuple[str, ...] = ()
    remedy: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def verdict(check: str, problems: Sequence[str], fine: str, remedy: str = "") -> Finding:
    """Name the first problems, or say what was found fine."""
    if not problems:
        return Finding(check, True, fine)
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return Finding(check, False, "; ".join(problems[:5]) + more, tuple(problems[:NAMED]), remedy)


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
        taken_down = sum(n for (table, _), n in state.removed.get(row.batch_id, {}).items() if table == "rejects")
        rejected, by_reason = sum(item.num_rejected for item in row.inputs), sum(row.rejects.values()) + taken_down
        if rejected != by_reason:
            problems.append(f"{where}: {rejected} rows rejected, {by_reason} of them by reason")
    return verdict("ledger", problems, f"{len(state.published)} batches, the books of every input close")


def shards(warehouse: str, view: View | None) -> tuple[Finding, set[str]]:
    """Check that every data file holds the bytes that its name promises, parts' records and the ledger's among them.

    Return also the URLs of those that do not. With a view, no file that a table needs may be missing.
    """
    wrong, count = integrity.damaged(warehouse, "data", integrity.shard, "shards")
    found = {item.url for item in wrong}
    for url in () if view is None else (url for table in TABLES for url in view.urls(table)):
        if url not in found and (said := _absent(url)):
            wrong.append(Damage(url, said))
    problems = [f"{below(warehouse, item.url)} {item.said}" for item in wrong]
    remedy = "restore them from a backup; what no table needs, headrace maintain removes"
    return verdict("shards", problems, f"{count} data files match their names", remedy), {item.url for item in wrong}


def _absent(url: str) -> str | None:
    fs, path = files.open_fs(url)
    return None if fs.exists(path) else "is missing"


def table_files(warehouse: str) -> tuple[Finding, list[Damage]]:
    """Check every file that pyiceberg wrote (metadata, manifest lists, manifests) against the SHA-256 noted then."""
    wrong, count = integrity.damaged(warehouse, "tables", integrity.table_file, "table metadata")
    problems = [f"{below(warehouse, item.url)} {item.said}" for item in wrong]
    local = files.is_local(warehouse)
    fine = f"{count} files match their SHA-256" if local else f"{count} files, which the object store itself checks"
    return verdict("table metadata", problems, fine, "run headrace doctor --repair"), wrong


def segments(warehouse: str) -> Finding:
    """Check every WARC segment against the SHA-256 in its name; name the damaged records."""
    wrong, count = integrity.damaged(warehouse, "warc", integrity.segment, "segments")
    problems = [f"{below(warehouse, item.url)}: {item.said}" for item in wrong]
    remedy = "restore them from a backup: the tables stay, but what is damaged cannot be extracted or embedded again"
    return verdict("segments", problems, f"{count} WARC segments match their names", remedy)


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
    if said := integrity.database(path):  # every URL stands in a table and in its index: a damaged one differs
        return Finding("key index", False, f"indexes/keys.db: {said}")
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
    problems = [f"indexes/keys.db: {below(home.warehouse, url)} is indexed wrongly" for url in wrong]
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
    _drop_database(home.root / "indexes" / "keys.db")
    view = home.view()
    for table in KEYS:
        home.index.refresh(table, view.urls(table))


def vector_indexes(home: Home, view: View, damaged: set[str]) -> Finding:
    """Check each vector index's files against its manifest, that it holds published batches only, and its recall.

    Recall is not measured where shards are damaged: there is nothing to compare with.
    """
    found = list(vector_manifest.manifests(home.root / "indexes"))
    problems = [f"{below(str(home.root), str(path))}: {said}" for path, said in _vector_problems(found, view.state)]
    if problems or damaged or not found:
        return verdict("vector indexes", problems, f"{len(found)} match their manifests" if found else "none built yet")
    recalls = {path: recall for path in found if (recall := _recall(home, view, path)) is not None}
    problems = [
        f"{below(str(home.root), str(path))}: recall@10 is {recall:.3f}, {home.settings.vectors.recall:g} is asked for"
        for path, recall in recalls.items()
        if recall < home.settings.vectors.recall - TOLERANCE
    ]
    shown = ", ".join(f"{recall:.3f}" for recall in recalls.values())
    fine = f"{len(found)} match their manifests" + (f", recall@10 {shown}" if shown else "")
    checked = verdict("vector indexes", problems, fine)
    return replace(checked, figures={f"recall@10 of {path.stem}": round(one, 4) for path, one in recalls.items()})


def _recall(home: Home, view: View, path: Path) -> float | None:
    if importlib.util.find_spec("faiss") is None:
        return None  # which another check tells
    from catalog.vectors import VectorIndex

    held = vector_manifest.Manifest.decode(path)
    assert held is not None, "an index of an older headrace is a problem found before"
    index = VectorIndex(home.root / "indexes", held.table, held.model, held.revision, home.settings.vectors)
    return index.recall(view)


def drop_vector_indexes(home: Home, view: View) -> None:
    """Remove the vector indexes that are damaged or find too little; the next search builds them again."""
    found = list(vector_manifest.manifests(home.root / "indexes"))
    wrong = {path for path, _ in _vector_problems(found, view.state)}
    for path in found:
        if path in wrong or (_recall(home, view, path) or 1) < home.settings.vectors.recall - TOLERANCE:
            vector_manifest.drop(path)


def _vector_problems(found: Iterable[Path], state: State) -> Iterator[tuple[Path, str]]:
    published = frozenset(state.published)
    for path in found:
        if said := vector_manifest.problem_of(path, published):
            yield path, said


def full_text(home: Home, view: View, damaged: set[str]) -> Finding:
    """Check the full-text index against itself and against the tables, if these can be read."""
    if damaged:
        return Finding("full text", True, "not compared with the tables: shards are damaged")
    if not (home.root / "indexes" / fulltext.FILE).is_file():
        return Finding("full text", True, "not built yet; the first search builds it")
    try:
        words = fulltext.FullText(home.root / "indexes")
    except Corrupt as error:
        return Finding("full text", False, str(error).removesuffix("; run headrace doctor --repair"))
    try:
        said = words.problem(view)
    finally:
        words.close()
    return Finding("full text", said is None, f"indexes/{fulltext.FILE}: {said}" if said else "agrees with the tables")


def drop_full_text(home: Home) -> None:
    """Remove the full-text index; the next search builds it again."""
    _drop_database(home.root / "indexes" / fulltext.FILE)


def bands(home: Home, state: State) -> Finding:
    """Check the files of the MinHash band indexes against their manifests."""
    folders = sorted(path for path in near_folder(home.root).glob("*") if path.is_dir())
    problems = [
        f"{below(str(home.root), str(folder))}: {said}" for folder in folders if (said := _bands_problem(folder, state))
    ]
    return verdict("band indexes", problems, f"{len(folders)} match their manifests" if folders else "none built yet")


def _bands_problem(folder: Path, state: State) -> str | None:
    try:
        entries = band_index.read_manifest(folder)
        for entry in entries:
            for path, sha256 in zip(band_index.paths(folder, entry), entry.sha256, strict=True):
                with path.open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        return f"{path.name} does not match its SHA-256"
            with pa.memory_map(str(band_index.paths(folder, entry)[1])) as file:
                rows = pa.ipc.open_file(file).read_all()
                tokens = sum(pc.sum(pc.list_value_length(rows[name])).as_py() or 0 for name in ("text", "title"))
                if (rows.num_rows, tokens) != (entry.num_rows, entry.num_tokens):
                    return f"{band_index.MANIFEST} counts other rows than {entry.name} holds"
    except Corrupt as error:
        return str(error).removesuffix("; run headrace doctor --repair")
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    strange = {batch for entry in entries for batch in entry.batches} - state.published.keys()
    return f"holds batch {min(strange)}, which nobody published" if strange else None


def drop_bands(home: Home, state: State) -> None:
    """Remove the band indexes that are damaged; the next dedup builds them again."""
    for folder in near_folder(home.root).glob("*"):
        if folder.is_dir() and _bands_problem(folder, state):
            shutil.rmtree(folder)


def _drop_database(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def databases(root: Path) -> Finding:
    """Let SQLite look over the databases that are no index, and compare what catalog.db points to."""
    found = [path for name in DATABASES if (path := root / name).is_file()]
    problems = [f"{path.name}: {said}" for path in found if (said := integrity.database(path))]
    if not problems and (root / "catalog.db").is_file():
        problems += [f"catalog.db: {said}" for said in integrity.catalog_pointers(root / "catalog.db")]
    remedy = "restore it from a backup; for catalog.db, run headrace doctor --repair"
    return verdict("databases", problems, f"{', '.join(path.name for path in found) or 'none'} can be read", remedy)


def broken_tables(settings: CatalogSettings) -> dict[str, str]:
    """Return the tables whose metadata cannot be read to its end, or that the catalog lost, by name, and why."""
    root, warehouse = place_of(settings)
    store = Store(root, warehouse, settings.catalog)
    try:
        names = store.names()
        broken = {}
        for name in names:
            if name not in ("batches", *TABLES):
                broken[name] = f"catalog.db names a table {name}, which headrace does not know"
                continue
            try:
                store.reached(name)
            except Corrupt as error:
                broken[name] = str(error).partition("; run headrace doctor")[0]
        if "batches" not in names:
            if files.is_local(warehouse) and Path(warehouse, "data", "batches").is_dir():
                broken["batches"] = "table batches is not in the catalog, though there are shards of it"
        elif "batches" not in broken:
            with suppress(Corrupt):  # damage in the ledger's own files is for another check to tell
                lost = lost_tables(Ledger(Pins(root, warehouse, settings.catalog, lambda: store)).refresh(), names)
                broken |= {
                    name: f"table {name} is not in the catalog, though the ledger has rows of it" for name in lost
                }
        return broken
    finally:
        store.close()


def lost_tables(state: State, names: Iterable[str]) -> set[str]:
    """Return the tables that have rows, as the ledger says, and are not among `names`."""
    rows = state.published.values()
    return ({table for row in rows for table in row.outputs} | {"rejects" for row in rows if row.rejects}) - set(names)


def tables_open(settings: CatalogSettings) -> Finding:
    """Check that every table's metadata can be read to its end; nothing is created."""
    root, warehouse = place_of(settings)
    problems: list[str] = []
    if settings.catalog or (root / "catalog.db").is_file():
        try:
            problems = list(broken_tables(settings).values())
        except HeadraceError as error:
            problems = [str(error).partition("; run headrace doctor")[0]]
    elif Path(warehouse, "tables").is_dir():
        problems = [f"catalog.db is missing though {warehouse} holds tables"]
    return verdict("tables", problems, "the metadata of each can be read to its end", "run headrace doctor --repair")


def below(place: str, url: str) -> str:
    """Name a file by its place in a home or a warehouse."""
    return url.removeprefix("file://").removeprefix(place.rstrip("/") + "/")
