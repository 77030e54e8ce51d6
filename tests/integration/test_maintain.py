"""Maintenance keeps every row where readers find it, beside drivers that publish and through being killed anywhere."""

import os
import re
import time
from pathlib import Path

import pytest

from catalog import collect, maintain, shards
from catalog.compact import DataFile, choose, read_manifest
from catalog.home import Home
from catalog.lease import Lease
from catalog.proving import drivers, toychain
from catalog.proving.agreement import TOY_TABLES, check_agreement, check_index, live_rows
from catalog.proving.toychain import STAGES
from catalog.settings import MaintenanceSettings

KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "0")) // 4
AT_ONCE = MaintenanceSettings(grace_hours=0, retention_hours=0, min_files=2)


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: STAGES)


def keep_up(root: Path, moment: str = "", trace: Path | None = None) -> None:
    """Be one process that maintains a home, until it dies of `moment`."""
    drivers.arm(moment, trace)
    with Home.open(toychain.make_config(root).catalog) as home:
        maintain.maintain(home, AT_ONCE)


def publish(root: Path, first: int, last: int) -> None:
    """Be one driver that publishes origin after origin."""
    toychain.install()
    for origin in range(first, last):
        toychain.drive(root, range(origin, origin + 1)).close()


def named_failpoints(repo: Path) -> list[str]:
    source = "\n".join(path.read_text() for path in sorted((repo / "catalog").glob("*.py")))
    return sorted(set(re.findall(r'failpoint\.reach\("(maintain-[a-z-]+)"\)', source)))


def data_files(home: Home) -> int:
    return sum(len(home.view().urls(table)) for table in TOY_TABLES)


def test_small_files_become_few_and_old_ones_go_when_readers_are_done(tmp_path: Path) -> None:
    with toychain.drive(tmp_path, range(3)) as home:
        rows, files = live_rows(home), data_files(home)
        check_agreement(home)  # fills the key index from the small files
        pinned = home.view()
        before = {table: pinned.urls(table) for table in TOY_TABLES}
        merged = maintain.maintain(home, MaintenanceSettings(min_files=2))
        assert set(merged["compacted"]) == set(TOY_TABLES)
        assert merged["removed"] == {}, "nothing is old enough to go"
        assert data_files(home) == len(TOY_TABLES) < files
        assert (live_rows(home), pinned.read("pages").num_rows) == (rows, len(rows["pages"]))
        check_agreement(home)
        large = shards.NAME.fullmatch(home.view().urls("pages")[0].rsplit("/", 1)[1])
        assert large, "a large file is named by its hash, as a shard is"
        again = maintain.maintain(home, MaintenanceSettings(min_files=2))
        assert (again["compacted"], again["expired"], again["removed"]) == ({}, {}, {}), "there is nothing left to do"
        maintain.maintain(home, AT_ONCE)
        maintain.maintain(home, AT_ONCE)
        assert not any(Path(url).exists() for url in before["pages"]), "replaced shards outlive their retention"
        assert live_rows(home) == rows
        check_agreement(home)
    with toychain.drive(tmp_path, range(4)) as home, toychain.drive(tmp_path / "reference", range(4)) as reference:
        assert live_rows(home).keys() == live_rows(reference).keys()
        assert [len(found) for found in live_rows(home).values()] == [len(n) for n in live_rows(reference).values()]
        check_agreement(home)


def test_rows_keep_their_order_within_a_batch_and_batches_stand_in_order(tmp_path: Path) -> None:
    with toychain.drive(tmp_path, range(3)) as home:
        batches = [batch.batch_id for batch in home.view().live("extract")]
        before = {batch: home.view().read("documents", batches=[batch])["document_id"].to_pylist() for batch in batches}
        maintain.maintain(home, MaintenanceSettings(min_files=2))
        whole = home.view().read("documents", ["batch_id"])["batch_id"].to_pylist()
        assert whole == sorted(whole)
        for batch, ids in before.items():
            assert home.view().read("documents", batches=[batch])["document_id"].to_pylist() == ids
        manifest = read_manifest(home.view().urls("documents")[0])
        assert manifest is not None
        assert manifest["rows"] == {batch: len(ids) for batch, ids in sorted(before.items())}


def test_what_a_dead_driver_left_goes_after_the_grace_period_and_a_living_ones_work_stays(tmp_path: Path) -> None:
    toychain.drive(tmp_path, range(1)).close()
    assert drivers.run(drivers.drive, tmp_path, range(1, 2), "A", "table:2") == drivers.KILLED
    with Home.open(toychain.make_config(tmp_path).catalog) as home:
        rows = live_rows(home)
        aside = tmp_path / "warehouse" / "data" / ".shard.parquet.0123abcd.tmp"
        aside.write_bytes(b"half")
        stray = tmp_path / "indexes" / "vectors" / "lost-0123.faiss"
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"index")
        assert maintain.maintain(home, MaintenanceSettings(min_files=99))["removed"] == {}
        published = home.view().state.published
        left = {path.name for path in (tmp_path / "warehouse" / "data" / "rejects").iterdir()} - published.keys()
        assert len(left) == 1
        with Lease(home.root) as lease:
            lease.hold(next(iter(left)))
            removed = maintain.maintain(home, AT_ONCE)["removed"]
            assert "unfinished work" not in removed
            assert removed["temporary files"]["files"] == removed["index files"]["files"] == 1
        assert not aside.exists()
        assert not stray.exists()
        would = maintain.maintain(home, AT_ONCE, dry_run=True)["removed"]["unfinished work"]
        assert would["files"] > 0
        for _ in range(2):  # what a table reached goes when its old version is forgotten
            maintain.maintain(home, AT_ONCE)
        assert not list((tmp_path / "warehouse" / "data").glob(f"*/{next(iter(left))}/*.parquet"))
        assert live_rows(home) == rows
    with toychain.drive(tmp_path, range(2)) as home, toychain.drive(tmp_path / "reference", range(2)) as reference:
        assert live_rows(home) == live_rows(reference)
        check_agreement(home)


def test_killed_anywhere_maintenance_leaves_a_good_home(tmp_path: Path, repo: Path) -> None:
    names = named_failpoints(repo)
    assert len(names) == 3
    rows = live_rows(toychain.drive(tmp_path, range(2)))
    moments = [*(f"{name}:2" for name in names), "maintain-remove:9", *(f"*:{5 * k}" for k in range(1, KILLS + 1))]
    died = 0
    for number, moment in enumerate(moments):
        died += drivers.run(keep_up, tmp_path, moment, tmp_path / "trace") == drivers.KILLED
        with Home.open(toychain.make_config(tmp_path).catalog) as home:
            assert {name: len(found) for name, found in live_rows(home).items() if name == "pages"} == {
                "pages": 7 * (2 + number)
            }
            check_agreement(home)
        toychain.drive(tmp_path, range(2 + number, 3 + number)).close()  # there is work to do again
    assert died >= 4, "most of the moments are never reached"
    with Home.open(toychain.make_config(tmp_path).catalog) as home:
        assert set(rows["documents"]) <= set(live_rows(home)["documents"])


def test_unfinished_work_that_is_half_removed_is_done_again(tmp_path: Path) -> None:
    for origin in range(3):
        assert drivers.run(drivers.drive, tmp_path, range(origin, origin + 1), "A", "before-add:3") == drivers.KILLED
        assert drivers.run(keep_up, tmp_path, f"maintain-remove:{2 + origin}") == drivers.KILLED
        toychain.drive(tmp_path, range(origin + 1)).close()
    with Home.open(toychain.make_config(tmp_path).catalog) as home:
        with toychain.drive(tmp_path / "reference", range(3)) as reference:
            assert live_rows(home) == live_rows(reference)
        check_agreement(home)


def test_files_that_others_put_in_place_meanwhile_stop_no_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with toychain.drive(tmp_path, range(1)) as home:
        walk = collect._walk
        gone = home.root / "indexes" / ".manifest.json.0123abcd.tmp"
        monkeypatch.setattr(collect, "_walk", lambda folder: [gone, *walk(folder)])
        assert maintain.maintain(home, AT_ONCE)["removed"].keys() <= {"table metadata", "replaced shards"}


def test_drivers_publish_beside_maintenance(tmp_path: Path) -> None:
    toychain.drive(tmp_path, range(1)).close()
    driver = drivers.start(publish, tmp_path, 1, 4)
    laps = 0
    with Home.open(toychain.make_config(tmp_path).catalog) as home:
        while driver.is_alive():
            maintain.maintain(home, AT_ONCE)
            laps += 1
            time.sleep(0.05)
        assert drivers.finish(driver) == 0
        assert laps > 1
        with toychain.drive(tmp_path / "reference", range(4)) as reference:
            assert live_rows(home)["documents"] == live_rows(reference)["documents"]
        check_agreement(home)


def file(size: int, batches: str, large: bool = False) -> DataFile:
    folder = "compacted" if large else batches
    return DataFile(f"w/data/pages/{folder}/{size}-{batches}.parquet", size, 1, frozenset(batches.split()))


def test_only_small_files_of_whole_published_batches_are_chosen_and_large_ones_seldom() -> None:
    settings = MaintenanceSettings(file_mb=0.001, min_files=2)  # 500 bytes are large
    published = set("abcdefg")
    assert choose([file(10, "a"), file(20, "b"), file(30, "x")], published, settings) == [file(10, "a"), file(20, "b")]
    assert choose([file(10, "a"), file(600, "a"), file(20, "b")], published, settings) == []
    once = [file(10, "a"), file(10, "b"), file(400, "c d", large=True)]
    assert choose(once, published, settings) == once[:2], "a large file waits until the small ones outweigh it"
    more = [file(300, "a"), file(200, "b"), file(400, "c d", large=True)]
    assert len(choose(more, published, settings)) == 3


def test_the_key_index_holds_no_file_that_its_table_does_not(tmp_path: Path) -> None:
    toychain.drive(tmp_path, range(1)).close()
    assert drivers.run(drivers.drive, tmp_path, range(1, 2), "A", "table:1") == drivers.KILLED
    with Home.open(toychain.make_config(tmp_path).catalog) as home:
        for table in ("pages", "documents"):
            check_index(home, table)  # which reads in what the dead driver had committed and not published
        before = {table: set(home.view().urls(table)) for table in ("pages", "documents")}
        maintain.maintain(home, AT_ONCE)
        assert any(set(home.view().urls(table)) < urls for table, urls in before.items()), "nothing was taken out"
        for table in before:
            check_index(home, table)
