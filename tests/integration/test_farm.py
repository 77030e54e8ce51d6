"""A farm of hosts with rules and delays of their own: every rule is kept, by the word of the server's own log."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from farm import check_manners, serve_farm
from website import Crawler

HOSTS = 50
REQUESTS = int(os.environ.get("HEADRACE_TEST_REQUESTS", "600"))  # the long form: 10000


@pytest.mark.slow
def test_no_request_is_forbidden_and_none_is_early(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    pages = max(REQUESTS // HOSTS - 1, 3)  # and one robots.txt each
    with serve_farm(HOSTS, pages) as farm:
        network = {"allow_private_hosts": ["127.0.0.0/8"], "concurrency": 32, "ask_tdmrep": False}
        crawler = Crawler(tmp_path / "home", network)
        report = crawler.run(*({"url": seed, "depth": 50, "max_pages": 100_000} for seed in farm.seeds()))
        log = farm.log()
    record_property("hosts", HOSTS)
    record_property("requests", len(log))
    check_manners(farm, log)
    assert len(log) == HOSTS * (pages + 1)  # nothing twice
    assert report.outputs == {"pages": HOSTS * pages}
    assert report.rejects["robots_denied"] == HOSTS * (2 * pages + 1)
