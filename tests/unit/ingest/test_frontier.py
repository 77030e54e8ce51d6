"""The frontier: who is next, what is held, and what survives a crash."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.schema import Reason
from ingest.frontier import OK, Frontier, Settled, Task
from ingest.settings import NetworkSettings
from ingest.source_settings import Source

SITE = Source.model_validate({"url": "http://h/", "depth": 2, "max_pages": 4, "max_media": 1})


@pytest.fixture
def frontier(tmp_path: Path) -> Iterator[Frontier]:
    frontier = Frontier(tmp_path / "frontier.db", NetworkSettings(recrawl_after=100.0))
    frontier.begin([SITE], now=0.0)
    frontier.seed(SITE, "http://h/", "page", "h")
    yield frontier
    frontier.close()


def leased(frontier: Frontier, host: str = "h") -> Task:
    task = frontier.lease(host)
    assert task is not None
    return task


def drain(frontier: Frontier, host: str = "h") -> list[str]:
    urls = []
    while task := frontier.lease(host):
        urls.append(task.url)
    return urls


def test_shallow_pages_come_before_deep_ones_and_media_last(frontier: Frontier) -> None:
    root = leased(frontier)
    frontier.admit(root, ["http://h/m.png"], "media")
    frontier.admit(root, ["http://h/a", "http://h/b"], "page")
    first = leased(frontier)
    frontier.admit(first, ["http://h/a/deep"], "page")
    assert drain(frontier) == ["http://h/b", "http://h/a/deep", "http://h/m.png"]
    assert first.referrer == "http://h/"


def test_scope_depth_traps_and_limits_hold_urls_back(frontier: Frontier, tmp_path: Path) -> None:
    root = leased(frontier)
    frontier.admit(root, ["http://other/", "http://h/" + "x/" * 9], "page")
    frontier.admit(root, ["http://cdn/1.png", "http://cdn/2.png"], "media")
    frontier.admit(root, [f"http://h/{n}" for n in range(6)], "page")
    assert drain(frontier) == [f"http://h/{n}" for n in range(4)]
    assert drain(frontier, "cdn") == ["http://cdn/1.png"]
    assert drain(frontier, "other") == []
    reasons = {
        url: frontier.known(url)[0]
        for url in ("http://other/", "http://h/" + "x/" * 9, "http://h/5", "http://cdn/2.png")
    }
    assert list(reasons.values()) == [Reason.OFF_SCOPE, Reason.TRAP, Reason.PAGE_LIMIT, Reason.PAGE_LIMIT]
    frontier.begin([SITE], now=1.0)
    assert {"http://h/4", "http://h/5"} <= set(drain(frontier))


def test_deeper_settings_let_in_what_was_too_deep(frontier: Frontier) -> None:
    root = leased(frontier)
    frontier.admit(root, ["http://h/1"], "page")
    frontier.admit(leased(frontier), ["http://h/2"], "page")
    frontier.admit(leased(frontier), ["http://h/3"], "page")
    assert drain(frontier) == []
    deeper = SITE.model_copy(update={"depth": 3})
    frontier.begin([deeper], now=1.0)
    assert "http://h/3" in drain(frontier)


def test_a_url_is_asked_again_when_it_is_due_and_its_source_is_still_wanted(frontier: Frontier) -> None:
    task = leased(frontier)
    frontier.settle(Settled(task.url, OK, 50.0, None, '"tag"', "date", "abc"))
    frontier.begin([SITE], now=149.0)
    assert frontier.hosts(149.0) == []
    frontier.begin([], now=151.0)
    assert frontier.hosts(151.0) == []
    frontier.begin([SITE], now=151.0)
    again = leased(frontier)
    assert (again.etag, again.last_modified, again.payload_sha256, again.outcome) == ('"tag"', "date", "abc", OK)


def test_a_failure_keeps_what_is_known_of_the_payload(frontier: Frontier) -> None:
    task = leased(frontier)
    frontier.settle(Settled(task.url, OK, 50.0, payload_sha256="abc"))
    frontier.settle(Settled(task.url, Reason.TIMEOUT, 60.0, "slow"))
    assert frontier.known(task.url) == (Reason.TIMEOUT, None, "abc")


def test_leases_of_a_dead_process_return(frontier: Frontier, tmp_path: Path) -> None:
    leased(frontier)
    assert frontier.lease("h") is None
    other = Frontier(tmp_path / "frontier.db", NetworkSettings(recrawl_after=100.0))  # what a new process does
    other.begin([SITE], now=1.0)
    assert drain(other) == ["http://h/"]
    other.close()


def test_redirect_circles_are_seen_whichever_way_they_were_found(frontier: Frontier) -> None:
    root = leased(frontier)
    frontier.admit(root, ["http://h/a", "http://h/b"], "page")
    a, b = leased(frontier), leased(frontier)
    assert not frontier.circles(a.url, b.url, 10)
    frontier.redirect(a, b.url, "h")
    assert frontier.circles(b.url, a.url, 10)
    assert frontier.circles(a.url, a.url, 10)


def test_a_paused_host_is_left_alone_until_its_time(frontier: Frontier) -> None:
    frontier.postpone("h", until=500.0)
    frontier.postpone("h", until=400.0)
    assert frontier.hosts(499.0) == []
    assert frontier.paused("h", 499.0)
    assert frontier.hosts(501.0) == ["h"]


def test_a_sealed_segment_is_applied_once_and_forgotten_when_published(frontier: Frontier) -> None:
    task = leased(frontier)
    frontier.sealed("f00", "x.warc.gz")
    assert frontier.unpublished() == [("f00", "x.warc.gz", "sealed")]
    for _ in range(2):
        frontier.applied("f00", [(task, Settled(task.url, OK, 5.0, payload_sha256="abc"))], {})
    assert frontier.unpublished() == [("f00", "x.warc.gz", "applied")]
    assert frontier.known(task.url) == (OK, None, "abc")
    frontier.published("f00")
    assert frontier.unpublished() == []


def test_an_older_capture_does_not_overwrite_a_newer_one(frontier: Frontier) -> None:
    task = leased(frontier)
    frontier.settle(Settled(task.url, OK, 50.0, payload_sha256="new"))
    frontier.settle(Settled(task.url, OK, 10.0, payload_sha256="old"))
    assert frontier.known(task.url)[2] == "new"


def test_a_page_that_its_list_says_has_changed_is_asked_again(frontier: Frontier) -> None:
    task = leased(frontier)
    frontier.settle(Settled(task.url, OK, 50.0))
    frontier.begin([SITE], now=100.0)
    frontier.renew(task, {task.url: 40.0, "http://e.org/unknown": 99.0})
    assert frontier.lease(task.host) is None
    frontier.renew(task, {task.url: 60.0})
    again = frontier.lease(task.host)
    assert again is not None
    assert again.url == task.url


def test_a_list_cannot_bring_back_what_this_run_fetched_nor_pages_of_others_nor_by_a_date_to_come(
    frontier: Frontier,
) -> None:
    task = leased(frontier)
    frontier.settle(Settled(task.url, OK, 50.0))
    frontier.renew(task, {task.url: 60.0})  # fetched after the run began
    assert frontier.lease("h") is None
    frontier.begin([SITE], now=100.0)
    frontier.renew(task, {task.url: time.time() + 1e6})
    assert frontier.lease("h") is None
    stranger = Task("http://evil/sitemap.xml", "evil", "http://evil/", "sitemap", 0, None, "evil", 0)
    frontier.renew(stranger, {task.url: 60.0})
    assert frontier.lease("h") is None
    neighbour = Task("http://h/sitemap.xml", "h", "http://h/sitemap.xml", "sitemap", 0, None, "h", 0)
    frontier.renew(neighbour, {task.url: 60.0})  # another source, of the same host
    assert leased(frontier).url == task.url
