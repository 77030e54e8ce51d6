"""The store: commits that happen once, snapshots that expire, homes in awkward folders, many processes at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestEntry, ManifestFile
from pyiceberg.table.update.snapshot import ExpireSnapshots
from sqlalchemy.exc import OperationalError

from catalog import schema, status, store
from catalog.errors import CommitConflict, Corrupt, InputError
from catalog.home import Home
from catalog.ledger import Row, now
from catalog.proving import drivers
from catalog.schema import TABLES
from catalog.settings import CatalogSettings
from catalog.shards import PartKey, conform, of_batches, open_dataset, write_part
from catalog.store import MOST_SNAPSHOTS, PROPERTIES, committing


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(CatalogSettings(root=tmp_path)) as opened:
        yield opened


def shard(home: Home, batch: str, ids: list[str]) -> str:
    rows = pa.Table.from_pylist([{"page_id": i, "url": f"u/{i}"} for i in ids], schema=schema.body("pages"))
    key = PartKey(batch, 0, len(ids), "x", "page_id")
    return write_part(home.warehouse, key, {"pages": rows}, ("pages",)).shards["pages"]


def ids_of(home: Home, batches: list[str] | None = None) -> list[str]:
    urls = home.store.plan(home.store.load("pages"), batches)
    rows = open_dataset(urls, TABLES["pages"]).to_table(columns=["page_id", "batch_id"])
    return sorted(row["page_id"] for row in rows.to_pylist() if batches is None or row["batch_id"] in batches)


def test_adding_a_batch_twice_is_a_no_op(home: Home) -> None:
    url = shard(home, "b1", ["a", "b"])
    assert home.store.add("pages", "b1", [url])
    location = home.store.load("pages").metadata_location
    assert not home.store.add("pages", "b1", [url])
    assert home.store.load("pages").metadata_location == location
    assert ids_of(home) == ["a", "b"]


def test_a_batch_is_held_only_if_its_rows_are_there_not_if_its_id_fits_between_others(home: Home) -> None:
    rows = pa.concat_tables(
        conform("pages", pa.table({"page_id": [i]}), batch) for i, batch in (("a", "b1"), ("c", "b3"))
    )
    home.store.load("pages").append(rows)  # one file of two batches, as compaction makes them
    table = home.store.load("pages")
    assert home.store.holds(table, "b1")
    assert not home.store.holds(table, "b2")
    assert home.store.add("pages", "b2", [shard(home, "b2", ["b"])])
    assert ids_of(home) == ["a", "b", "c"]


def test_snapshots_expire_while_older_handles_still_read(home: Home) -> None:
    home.store.add("pages", "b-first", [shard(home, "b-first", ["first"])])
    old = home.store.load("pages")
    for k in range(MOST_SNAPSHOTS + 12):
        home.store.add("pages", f"b{k}", [shard(home, f"b{k}", [f"p{k:03d}"])])
        assert len(home.store.load("pages").snapshots()) <= MOST_SNAPSHOTS + 1
    assert len(home.store.load("pages").snapshots()) <= MOST_SNAPSHOTS
    assert old.scan().to_arrow()["page_id"].to_pylist() == ["first"]
    assert ids_of(home) == sorted(["first", *(f"p{k:03d}" for k in range(MOST_SNAPSHOTS + 12))])


def test_what_was_committed_counts_even_if_expiring_meets_a_lock(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(self: ExpireSnapshots) -> None:
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr(ExpireSnapshots, "commit", locked)
    for number in range(MOST_SNAPSHOTS + 2):
        row = Row(seq=0, kind="tag", stage="", time=now(), name=f"t{number}")
        assert [one.name for one in home.ledger.append(lambda _, row=row: [row])] == [row.name]
    assert home.ledger.refresh().last_seq == MOST_SNAPSHOTS + 2


def test_plans_of_batches_leave_other_files_out(home: Home) -> None:
    for k in range(6):
        home.store.add("pages", f"b{k}", [shard(home, f"b{k}", [f"p{k}"])])
    assert ids_of(home, ["b0", "b2", "b3", "b5"]) == ["p0", "p2", "p3", "p5"]
    assert len(home.store.plan(home.store.load("pages"), ["b0", "b2", "b3"])) == 3
    assert home.store.plan(home.store.load("pages"), []) == []


def test_a_table_of_many_commits_is_planned_from_few_manifests_each_read_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def noted(self: ManifestFile, *given: Any, **named: Any) -> list[ManifestEntry]:
        opened.append(self.manifest_path)
        return fetch(self, *given, **named)

    for k in range(15):
        home.store.add("pages", f"b{k:02d}", [shard(home, f"b{k:02d}", [f"p{k:02d}"])])
    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", noted)
    with Home.open(home.settings) as later:
        assert ids_of(later) == [f"p{k:02d}" for k in range(15)]
        assert ids_of(later, ["b07", "b11"]) == ["p07", "p11"]
        assert 0 < len(opened) <= 10
        assert len(opened) == len(set(opened))
        later.store.add("pages", "b99", [shard(later, "b99", ["p99"])])
        assert ids_of(later, ["b99"]) == ["p99"]


def test_a_table_of_an_older_release_gains_the_properties_that_it_lacks_and_keeps_its_own(home: Home) -> None:
    with home.store.load("pages").transaction() as transaction:
        transaction.remove_properties("commit.manifest.min-count-to-merge")
        transaction.set_properties({"write.parquet.compression-codec": "gzip"})
    with Home.open(home.settings) as later:
        found = later.store.load("pages").properties
    ours = {name: found.get(name) for name in PROPERTIES}
    assert ours == {**PROPERTIES, "write.parquet.compression-codec": "gzip"}


def test_no_files_are_an_empty_table_of_the_right_shape(home: Home) -> None:
    rows = open_dataset([], TABLES["pages"]).to_table(filter=of_batches(["b"]))
    assert rows.schema == TABLES["pages"]
    assert rows.num_rows == 0


def test_a_table_of_an_older_release_gains_the_new_columns_and_keeps_its_rows(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.store.add("pages", "b1", [shard(home, "b1", ["a"])])
    newer = TABLES["pages"].append(pa.field("colour", pa.string()))
    monkeypatch.setitem(TABLES, "pages", newer)
    with Home.open(home.settings) as later:
        later.store.add("pages", "b2", [shard(later, "b2", ["b"])])
        rows = open_dataset(later.store.plan(later.store.load("pages"), None), newer).to_table()
        assert sorted(rows["page_id"].to_pylist()) == ["a", "b"]
        assert rows["colour"].to_pylist() == [None, None]


def test_committing_tries_again_only_for_what_other_writers_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.time, "sleep", lambda _: None)
    errors = iter([CommitFailedException("lost"), OperationalError("x", None, Exception("database is locked")), None])

    def attempt() -> str:
        error = next(errors)
        if error:
            raise error
        return "done"

    assert committing(attempt, "it") == "done"

    def broken() -> str:
        raise OperationalError("x", None, Exception("database or disk is full"))

    with pytest.raises(InputError, match="it: the catalog's database cannot be used: database or disk is full; make"):
        committing(broken, "it")

    def always() -> str:
        raise CommitFailedException("lost")

    with pytest.raises(CommitConflict, match="60 commits in a row lost to other writers; run fewer writers"):
        committing(always, "table pages")


@pytest.mark.parametrize(
    "name", ["a b", "página 网页", "100%", "50%20off", "a#b", "what?", "x&y=z", "a+b", "it's", "[1]", "a*b"]
)
def test_a_home_may_live_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    with Home.open(CatalogSettings(root=tmp_path / name)) as home:
        home.store.add("pages", "b1", [shard(home, "b1", ["a"])])
        assert ids_of(home) == ["a"]
        home.index.refresh("pages", home.store.plan(home.store.load("pages"), None))
    assert [path.name for path in tmp_path.iterdir()] == [name], "something was written beside the home"
    with Home.open(CatalogSettings(root=tmp_path / name)) as home:
        assert ids_of(home) == ["a"]


def test_a_root_that_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"root: .*file/x cannot be created: .*choose another --root"):
        Home.open(CatalogSettings(root=tmp_path / "file" / "x"))


def test_a_catalog_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("this is no database, whatever its name says" * 40)
    with pytest.raises(Corrupt, match=r"the catalog of .*: the catalog's database is damaged: file is not a database"):
        Home.open(CatalogSettings(root=tmp_path))


def add_batches(root: Path, first: int, count: int) -> None:
    """Be one of several committers: add batches, the middle ones of which others add too."""
    with Home.open(CatalogSettings(root=root)) as home:
        for k in range(first, first + count):
            home.store.add("pages", f"b{k}", [shard(home, f"b{k}", [f"p{k:02d}"])])


def test_two_committers_race_without_losing_or_doubling(tmp_path: Path) -> None:
    racers = [drivers.start(add_batches, tmp_path / "home", first, 6) for first in (0, 3)]
    assert [drivers.finish(racer) for racer in racers] == [0, 0]
    with Home.open(CatalogSettings(root=tmp_path / "home")) as home:
        assert ids_of(home) == [f"p{k:02d}" for k in range(9)]


def open_only(root: Path) -> None:
    """Be one of several processes that open a new home at the same time."""
    Home.open(CatalogSettings(root=root)).store.load("pages")


def test_many_processes_may_open_a_new_home_at_once(tmp_path: Path) -> None:
    for k in range(3):
        racers = [drivers.start(open_only, tmp_path / str(k)) for _ in range(4)]
        assert [drivers.finish(racer) for racer in racers] == [0, 0, 0, 0]


def test_reading_makes_no_table_and_writes_nothing(home: Home) -> None:
    home.view()  # the ledger is there
    before = sorted(path for path in home.root.rglob("*"))
    assert home.view().read("examples").num_rows == 0
    assert not home.view().evolved("examples")
    assert status.tables(home.view())["examples"] == {"rows": 0, "batches": 0, "files": 0, "bytes": 0}
    assert sorted(path for path in home.root.rglob("*")) == before
    assert home.store.names() == ["batches"]


def test_commits_to_sqlite_sync_the_folder_too(home: Home) -> None:
    with home.store._catalog.engine.connect() as connection:  # type: ignore[attr-defined]
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3, "a power loss may take a commit back"
