"""A farm of hosts with rules and delays of their own: every rule is kept, by the word of the server's own log."""

import os
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from farm import FORBIDDEN, Farm, Request, delay_of, serve_farm
from website import Crawler

HOSTS = 50
REQUESTS = int(os.environ.get("HEADRACE_TEST_REQUESTS", "600"))  # the long form: 10000
SLACK = 0.001  # two clocks' worth of rounding


def by_host(log: list[Request]) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = defaultdict(list)
    for request in log:
        found[request.host].append(request)
    return found


def check_manners(farm: Farm, log: list[Request]) -> None:
    """No request to a disallowed path, robots.txt first, and none before its host's delay has passed."""
    for host, requests in by_host(log).items():
        assert requests[0].path == "/robots.txt", host
        forbidden = [one.path for one in requests if one.path.startswith(FORBIDDEN) and one.path != "/private/open"]
        assert forbidden == []
        early = [
            (before.path, after.path, after.time - before.answered)
            for before, after in pairwise(requests)
            if after.time - before.answered < delay_of(host) - SLACK
        ]
        assert early == [], f"{host} asks for {delay_of(host)} s"
    assert set(by_host(log)) == set(farm.hosts)


@pytest.mark.slow
def test_no_request_is_forbidden_and_none_is_early(tmp_path: Path) -> None:
    pages = max(REQUESTS // HOSTS - 1, 3)  # and one robots.txt each
    with serve_farm(HOSTS, pages) as farm:
        network = {"allow_private_hosts": ["127.0.0.0/8"], "concurrency": 32, "ask_tdmrep": False}
        crawler = Crawler(tmp_path / "home", network)
        report = crawler.run(*({"url": seed, "depth": 50, "max_pages": 100_000} for seed in farm.seeds()))
        log = farm.log()
    check_manners(farm, log)
    assert len(log) == HOSTS * (pages + 1)  # nothing twice
    assert report.outputs == {"pages": HOSTS * pages}
    assert report.rejects["robots_denied"] == HOSTS * (2 * pages + 1)
