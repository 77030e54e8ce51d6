"""Layouts: frontiers split by host and joined again lose nothing, wherever a kill came between."""

import sqlite3
from pathlib import Path

from ingest.frontier import OK, Frontier, Settled, Task
from ingest.layout import arrange, staging
from ingest.partition import Partition, frontier_files, frontier_path
from ingest.settings import NetworkSettings
from ingest.source_settings import Source

NETWORK = NetworkSettings()
SITES = [Source.model_validate({"url": f"http://h{n}/", "depth": 9}) for n in range(12)]
COLUMNS = "url, host, state, depth, outcome, payload_sha256, fetched_at, level"


def fill(root: Path) -> None:
    frontier = Frontier(frontier_path(root), NETWORK)
    frontier.begin(SITES, now=0.0)
    for site in SITES:
        host = site.url.split("/")[2]
        frontier.seed(site, site.url, "page", host)
        task = frontier.lease(host)
        assert task is not None
        frontier.admit(task, [f"{site.url}{n}" for n in range(5)] + ["http://other/"], "page")
        frontier.settle(Settled(task.url, OK, 50.0, payload_sha256=host))
    frontier.close()


def rows(root: Path) -> list[tuple[object, ...]]:
    found = []
    for path in frontier_files(root):
        with sqlite3.connect(path) as db:
            found += db.execute(f"SELECT {COLUMNS} FROM urls").fetchall()
        db.close()
    return sorted(found, key=lambda row: str(row[0]))


def tally(path: Path, name: str) -> int:
    with sqlite3.connect(path) as db:
        row = db.execute("SELECT num FROM tallies WHERE name = ?", (name,)).fetchone()
    db.close()
    return row[0] if row else 0


def test_split_and_joined_again_all_urls_are_there_once(tmp_path: Path) -> None:
    fill(tmp_path)
    before = rows(tmp_path)
    seen: list[Partition] = []
    for count in (3, 2, 1):
        arrange(tmp_path, NETWORK, count, seen.append)
        assert len(frontier_files(tmp_path)) == count
        assert rows(tmp_path) == before
        for index in range(count):
            part = Partition(index, count)
            with sqlite3.connect(frontier_path(tmp_path, part)) as db:
                assert all(part.owns(host) for (host,) in db.execute("SELECT host FROM urls"))
            db.close()
    assert [part.count for part in seen] == [1, 3, 3, 3, 2, 2]
    assert tally(frontier_path(tmp_path), "host h3") == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontier.db"]


def test_a_kill_between_the_new_layout_and_the_end_of_the_old_is_harmless(tmp_path: Path) -> None:
    fill(tmp_path)
    before = rows(tmp_path)
    kept = frontier_path(tmp_path).read_bytes()
    (tmp_path / "frontier.new").mkdir()  # one that was never finished
    arrange(tmp_path, NETWORK, 2, lambda part: None)
    frontier_path(tmp_path).write_bytes(kept)
    arrange(tmp_path, NETWORK, 2, lambda part: None)
    assert [path.name for path in frontier_files(tmp_path)] == ["0.db", "1.db"]
    assert rows(tmp_path) == before


def test_urls_of_other_shares_are_passed_on_until_they_have_arrived(tmp_path: Path) -> None:
    shares = [Frontier(tmp_path / f"{index}.db", NETWORK, Partition(index, 2)) for index in range(2)]
    for share in shares:
        share.begin(SITES, now=0.0)
    ours = next(site for site in SITES if shares[0].partition.owns(site.url.split("/")[2]))
    host = ours.url.split("/")[2]
    page = Task(ours.url, host, ours.url, "page", 0, None, "", 0)
    shares[0].admit(page, [site.url for site in SITES], "page")
    first = shares[0].outgoing(2)
    rest = shares[0].outgoing(100, after=first[-1][0])
    tasks = [task for _, task in (*first, *rest)]
    assert all(shares[1].partition.owns(task.host) for task in tasks)
    for _ in range(2):  # the same again is harmless
        shares[1].receive(tasks)
    assert len(shares[1].hosts(0.0)) == len(tasks)
    assert len(shares[0].hosts(0.0)) + len(tasks) == len(SITES)
    shares[0].delivered(first[-1][0])
    assert [task for _, task in shares[0].outgoing(100)] == [task for _, task in rest]
    for share in shares:
        share.close()


def test_each_share_writes_its_segments_in_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = {staging(tmp_path, Partition(index, count)) for count in (1, 2, 3) for index in range(count)}
    assert len(folders) == 6
