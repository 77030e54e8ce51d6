"""Several crawl processes on local Ray: the same pages as one, each once, with the same manners; and back to one."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from farm import check_manners, serve_farm
from website import Crawler

from catalog.home import Home
from catalog.settings import Config
from catalog.stage import StageReport
from ingest.crawl_job import run_crawl
from ingest.partition import frontier_files, part_of

HOSTS = int(os.environ.get("HEADRACE_TEST_HOSTS", "8"))  # the long form: 16, with 6 pages
PAGES = 3 if HOSTS < 16 else 6  # of each host
NETWORK = {"allow_private_hosts": ["127.0.0.0/8"], "ask_tdmrep": False, "segment_records": 5 * PAGES}


def crawl(crawler: Crawler, feed: str, engine: str) -> StageReport:
    config = crawler.config({"url": feed, "depth": 50})
    config = Config(config.given | {"engine": engine, "resources": {"crawl": {"workers": 2, "cpus": 0.5}}})
    with Home.open(config.catalog) as home:
        return run_crawl(home, config)


@pytest.mark.slow
@pytest.mark.ray
def test_two_processes_bring_what_one_brings(tmp_path: Path, ray_session: None) -> None:
    single, cluster = Crawler(tmp_path / "single", NETWORK), Crawler(tmp_path / "cluster", NETWORK)
    with serve_farm(HOSTS, PAGES) as farm:
        feed = f"http://127.0.0.1:{farm.port}/feed.xml"  # the one entry: who fetches it passes the others' hosts on
        report = crawl(cluster, feed, "ray")
        log = farm.log()
        check_manners(farm, log)
        assert len(log) == len({(one.host, one.path) for one in log}) == HOSTS * (PAGES + 1) + 1
        crawl(single, feed, "local")
        found = {url: row["payload_sha256"] for url, row in cluster.pages().items()}
        assert found == {url: row["payload_sha256"] for url, row in single.pages().items()}
        assert report.num_processed == len(found) == HOSTS * PAGES
        assert cluster.rejects() == single.rejects()
        assert [path.name for path in frontier_files(cluster.root)] == ["0.db", "1.db"]
        for index, path in enumerate(frontier_files(cluster.root)):  # each did its part, and no other's
            with closing(sqlite3.connect(path)) as frontier:
                done = {host for (host,) in frontier.execute("SELECT host FROM urls WHERE outcome = 'ok'")}
            assert done == {f"{one}:{farm.port}" for one in farm.hosts if part_of(f"{one}:{farm.port}", 2) == index}

        assert crawl(cluster, feed, "local").batches == 0  # one process knows all that two have learned
        assert [path.name for path in frontier_files(cluster.root)] == ["frontier.db"]
