"""What a later crawl does: sooner or later by what changed, never again to what is gone, and heeding new rights."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from website import Answer, Crawler, Site, serve

from catalog import run as running
from catalog.decisions import discarded
from catalog.home import Home
from catalog.settings import Config

PROSE = """The mill by the river was built in the year of the great flood, and its wheel has turned ever since. Farmers
from the whole valley bring their grain in autumn, when the roads are dry and the water is high enough. The miller keeps
a book in which every sack is noted, together with the weather and the price that was paid at the market. On some
evenings children come to watch how the stones are lifted and cut anew, a work that takes two days and much care."""


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@pytest.fixture
def crawler(tmp_path: Path) -> Crawler:
    return Crawler(tmp_path / "home")


def pass_time(crawler: Crawler, seconds: float) -> None:
    """Let the home be older."""
    with sqlite3.connect(crawler.root / "frontier.db") as frontier:
        frontier.execute("UPDATE urls SET fetched_at = fetched_at - ?", (seconds,))
    frontier.close()


def column(crawler: Crawler, name: str, url: str) -> Any:
    with sqlite3.connect(crawler.root / "frontier.db") as frontier:
        (value,) = frontier.execute(f"SELECT {name} FROM urls WHERE url = ?", (url,)).fetchone()
    frontier.close()
    return value


def test_pages_that_change_are_asked_sooner_than_those_that_stay(site: Site, crawler: Crawler) -> None:
    crawler.network |= {"recrawl_after": 100, "recrawl_max": 400}
    site.page("/", "home", links=("/busy", "/still"))
    site.page("/still", "always the same")
    asked = []
    for version in range(12):
        site.page("/busy", f"version {version}")
        site.requests.clear()
        crawler.run(site.url)
        asked.append((site.asked("/busy"), site.asked("/still")))
        pass_time(crawler, 110)
    busy, still = (sum(column) for column in zip(*asked, strict=True))
    assert busy == 12
    assert 4 <= still <= 6  # after 100, 150, 225, 337, 400, 400 … seconds


def test_what_is_gone_is_asked_ever_less_and_then_dropped(site: Site, crawler: Crawler) -> None:
    crawler.network |= {"recrawl_after": 0, "drop_after": 3}
    site.page("/", "home", links=("/gone",))
    site.routes["/gone"] = Answer(b"", 410)
    for _ in range(5):
        crawler.run(site.url)
    assert site.asked("/gone") == 3
    assert column(crawler, "state", f"{site.url}/gone") == "dead"
    site.page("/gone", "back again")
    crawler.run(site.url)
    assert site.asked("/gone") == 3
    crawler.run(site.url, {"url": f"{site.url}/gone", "kind": "page"})  # who names it himself is heard
    assert f"{site.url}/gone" in crawler.pages()


def rights(crawler: Crawler, url: str) -> list[str]:
    rows = crawler.table("pages").sort_by("fetched_at").to_pylist()
    return [row["rights"] or "" for row in rows if row["url"] == url]


@pytest.mark.parametrize("validate", [False, True])
def test_an_opt_out_that_comes_later_is_recorded_though_the_page_is_the_same(
    site: Site, crawler: Crawler, validate: bool
) -> None:
    crawler.network["recrawl_after"] = 0
    site.routes["/"] = Answer(b"<p>the same words</p>", validate=validate)
    crawler.run(site.url)
    assert crawler.run(site.url).batches == 0
    headers = {"Content-Type": "text/html; charset=utf-8", "X-Robots-Tag": "noai"}
    site.routes["/"] = Answer(b"<p>the same words</p>", headers=headers, validate=validate)
    assert crawler.run(site.url).outputs == {"pages": 1}
    before, after = rights(crawler, f"{site.url}/")
    assert "noai" not in before
    assert "noai" in after
    assert crawler.run(site.url).batches == 0  # said once


def test_a_run_stops_when_its_time_is_over_and_the_next_goes_on(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=tuple(f"/{n}" for n in range(12)))
    for n in range(12):
        site.page(f"/{n}", f"page {n}")
    crawler.network |= {"delay": 0.15, "max_run_seconds": 1}
    started = time.monotonic()
    report = crawler.run(site.url)
    assert time.monotonic() - started < 5
    assert 1 <= report.num_processed < 13
    assert report.num_processed == len(crawler.pages())
    crawler.network |= {"delay": 0, "max_run_seconds": None}
    crawler.run(site.url)
    assert len(crawler.pages()) == 13
    assert all(site.asked(f"/{n}") == 1 for n in range(12))


def test_a_budget_is_split_by_share_and_what_one_leaves_goes_to_the_other(crawler: Crawler) -> None:
    def fill(site: Site, pages: int) -> None:
        site.page("/", "home", links=tuple(f"/{n}" for n in range(pages)))
        for n in range(pages):
            site.page(f"/{n}", f"page {n} of {site.port}")

    with serve() as much, serve() as more, serve() as little:
        fill(much, 60)
        fill(more, 60)
        fill(little, 1)
        sources = [
            {"url": f"{much.url}/", "share": 3}, {"url": f"{more.url}/"}, {"url": f"{little.url}/"},
        ]  # fmt: skip
        crawler.network["max_run_visits"] = 50
        crawler.run(*sources)
        stored = Counter(str(row["source"]) for row in crawler.pages().values())
        assert stored[f"{little.url}/"] == 2
        assert stored.total() == 50
        assert 33 <= stored[f"{much.url}/"] <= 38  # three quarters of what `little` left
        crawler.network["max_run_visits"] = None
        crawler.run(*sources)
        assert len(crawler.pages()) == 61 + 61 + 2


def test_a_host_that_refuses_is_asked_ever_more_slowly_and_recovers(site: Site, crawler: Crawler) -> None:
    refusals = {"left": 4}

    def busy(path: str) -> Any:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            refused = refusals["left"] > 0
            refusals["left"] -= refused
            body = b"" if refused else f"<p>{path}</p>".encode()
            handler.send_response(429 if refused else 200)
            handler.send_header("Content-Type", "text/html")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        return answer

    site.page("/", "home", links=tuple(f"/{n}" for n in range(8)))
    for n in range(8):
        site.routes[f"/{n}"] = busy(f"/{n}")
    crawler.network |= {"retry_delay": 0.05, "retries": 6, "concurrency_per_host": 1, "ask_tdmrep": False}
    crawler.run(site.url)
    times = [when for when, path, _ in site.requests if path not in ("/", "/robots.txt")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.4), strict=False))
    assert gaps[-1] < 0.1
    assert len(crawler.pages()) == 9


def test_connections_are_kept_alive(site: Site, crawler: Crawler) -> None:
    connections = set()

    def noted(handler: BaseHTTPRequestHandler) -> None:
        connections.add(handler.client_address)
        body = b"<p>here</p>"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    site.page("/", "home", links=tuple(f"/{n}" for n in range(40)))
    site.routes |= {f"/{n}": noted for n in range(40)}
    crawler.network["concurrency_per_host"] = 3
    crawler.run(site.url)
    assert len(crawler.pages()) == 41
    assert len(connections) <= 4


def test_endless_variants_and_hosts_without_end_are_cut_off(site: Site, crawler: Crawler) -> None:
    links = tuple(f"/list?colour={n}&size={n * 7}" for n in range(30)) + tuple(f"/p{n}" for n in range(30))
    site.page("/", "home", links=links)
    for link in links:
        site.page(link, f"page {link}")
    crawler.network["traps"] = {"max_variants": 5, "max_host_urls": 20}
    crawler.run(site.url)
    paths = [url.removeprefix(site.url) for url in crawler.pages()]
    assert sum(path.startswith("/list") for path in paths) == 5
    assert len(paths) == 21  # and the seed
    crawler.network["traps"] = {"max_variants": 5, "max_host_urls": 30}
    crawler.run(site.url)  # a higher limit lets in what it kept out
    assert len(crawler.pages()) == 31


def test_what_was_taken_before_an_opt_out_is_set_aside(site: Site, crawler: Crawler) -> None:
    html = f"<html><head><title>mill</title></head><body><article><h1>Mills</h1><p>{PROSE}</p></article></body></html>"
    crawler.network["recrawl_after"] = 0
    config = crawler.config(site.url)
    config = Config(config.given | {"stages": ["crawl", "extract", "dedup"], "engine": "local"})
    headers = {"Content-Type": "text/html; charset=utf-8"}
    standing = []
    for reserved in ({}, {"X-Robots-Tag": "noai"}, {}):
        site.routes["/"] = Answer(html.encode(), headers=headers | reserved)
        running.run(config)
        with Home.open(config.catalog) as home:
            view = home.view()
            documents = view.read("documents", ["document_id", "batch_id"]).to_pylist()
            away = discarded(view.read("duplicates"))
        standing.append([row for row in documents if (row["document_id"], row["batch_id"]) not in away])
    assert [len(rows) for rows in standing] == [1, 0, 1]  # taken, opted out, allowed again
