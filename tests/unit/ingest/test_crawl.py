"""The crawler against real servers on loopback: what it keeps, what it turns away, and that nothing stops it."""

import gzip
import socket
import sqlite3
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import pytest
from website import PNG, Answer, Crawler, Site, serve

from catalog.warc import read_payload
from ingest.rights import describe
from ingest.rights import read as read_rights


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        yield site


@pytest.fixture
def crawler(tmp_path: Path) -> Crawler:
    return Crawler(tmp_path / "home")


def test_a_site_is_crawled_with_its_media_and_every_payload_can_be_read_back(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/a", "/b#part", "mailto:x@example.org"), images=("/one.png",))
    site.page("/a", "first", links=("/", "/b"), images=("one.png",))
    site.page("/b", "second")
    site.routes["/one.png"] = Answer(PNG, headers={"Content-Type": "image/png"})
    report = crawler.run(site.url)
    pages = crawler.pages()
    assert set(pages) == {f"{site.url}{path}" for path in ("/", "/a", "/b", "/one.png")}
    assert (report.batches, report.num_in, report.num_processed, report.num_rejected) == (1, 4, 4, 0)
    warehouse = crawler.home().warehouse
    for url, row in pages.items():
        locator = (row["warc_path"], row["warc_offset"], row["warc_length"])
        route = site.routes[url.removeprefix(site.url)]
        assert isinstance(route, Answer)
        assert read_payload(warehouse, *locator, max_bytes=10**6) == route.body  # type: ignore[arg-type]
    assert pages[f"{site.url}/a"]["depth"] == 1
    assert pages[f"{site.url}/a"]["referrer"] == f"{site.url}/"
    assert pages[f"{site.url}/one.png"]["content_type"] == "image/png"
    assert pages[f"{site.url}/"]["source"] == site.url
    assert all(path == "/robots.txt" or site.asked(path) == 1 for _, path, _ in site.requests)
    assert all("headrace/" in headers["User-Agent"] for _, _, headers in site.requests)


def test_nothing_changed_publishes_nothing_and_one_new_page_is_fetched_alone(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/a",))
    site.page("/a", "first")
    crawler.run(site.url)
    before = sorted((crawler.root / "warehouse").rglob("*.warc.gz"))
    again = crawler.run(site.url)
    assert (again.batches, again.num_in) == (0, 0)
    assert sorted((crawler.root / "warehouse").rglob("*.warc.gz")) == before
    site.page("/", "home", links=("/a", "/new"))
    site.page("/new", "news")
    site.requests.clear()
    third = crawler.run(site.url)
    assert (third.batches, third.outputs) == (1, {"pages": 2})  # the changed home page and the new one
    assert [path for _, path, _ in site.requests] == ["/robots.txt", "/", "/new"]


def test_conditional_requests_are_answered_by_304_and_add_no_row(site: Site, crawler: Crawler) -> None:
    site.routes["/"] = Answer(b"<p>stable</p>", validate=True)
    crawler.run(site.url)
    site.requests.clear()
    assert crawler.run(site.url).batches == 0
    _, path, headers = site.requests[-1]
    assert path == "/"
    assert headers["If-None-Match"].startswith('"')
    assert headers["If-Modified-Since"] == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert len(crawler.pages()) == 1


def test_a_page_is_asked_again_only_when_it_is_due(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/a",))
    site.page("/a", "first")
    crawler.run(site.url)
    site.page("/a", "first, corrected")
    crawler.run(site.url)
    assert site.asked("/a") == 1
    crawler.network["recrawl_after"] = 0
    assert crawler.run(site.url).outputs == {"pages": 1}
    assert site.asked("/a") == 2


def test_robots_are_obeyed_for_pages_and_media_and_the_line_is_recorded(site: Site, crawler: Crawler) -> None:
    rules = b"User-agent: headrace\nDisallow: /private\nDisallow: /*.png$\nAllow: /private/open\n"
    site.routes["/robots.txt"] = Answer(rules, headers={"Content-Type": "text/plain"})
    site.page("/", "home", links=("/private/x", "/private/open"), images=("/a.png",))
    site.page("/private/open", "open")
    crawler.run(site.url)
    assert crawler.pages()[f"{site.url}/private/open"]["robots_rule"] == "Allow: /private/open (line 4)"
    assert crawler.rejects() == {
        f"{site.url}/private/x": ("robots_denied", "Disallow: /private (line 2)"),
        f"{site.url}/a.png": ("robots_denied", "Disallow: /*.png$ (line 3)"),
    }
    assert site.asked("/private/x") == site.asked("/a.png") == 0
    assert crawler.run(site.url).batches == 0  # denied as before: no new row


def test_a_robots_file_that_fails_means_no_request(site: Site, crawler: Crawler) -> None:
    site.routes["/robots.txt"] = Answer(b"", 503)
    site.page("/", "home")
    crawler.run(site.url)
    assert crawler.rejects() == {f"{site.url}/": ("robots_unreachable", "robots.txt: HTTP 503")}
    assert site.asked("/") == 0


def test_crawl_delay_keeps_requests_apart(site: Site, crawler: Crawler) -> None:
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 0.15\n", headers={"Content-Type": "text/plain"})
    site.page("/", "home", links=("/a", "/b"))
    site.page("/a", "first")
    site.page("/b", "second")
    crawler.run(site.url)
    times = [when for when, _, _ in site.requests]
    assert len(times) == 4
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.15


def test_a_crawl_delay_too_long_for_a_run_brings_one_page_a_run(site: Site, crawler: Crawler) -> None:
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 61", headers={"Content-Type": "text/plain"})
    site.page("/", "home", links=("/a",))
    started = time.monotonic()
    crawler.run(site.url)
    crawler.run(site.url)
    assert time.monotonic() - started < 10
    assert set(crawler.pages()) == {f"{site.url}/"}
    assert [path for _, path, _ in site.requests] == ["/robots.txt", "/"]
    with sqlite3.connect(crawler.root / "frontier.db") as frontier:
        (until,) = frontier.execute("SELECT not_before FROM hosts").fetchone()
        frontier.execute("DELETE FROM hosts")
    frontier.close()
    assert 40 < until - time.time() <= 61
    crawler.network["recrawl_after"] = 0
    site.routes["/"] = Answer(b"", 404)
    crawler.run({"url": site.url, "depth": 1})  # that time has passed
    assert len(site.requests) == 4


def test_redirects_lead_to_the_target_and_loops_end(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/old", "/ring1", "/self", "/away", "/chain0"))
    site.page("/new", "moved here")
    site.routes["/old"] = Answer(status=301, headers={"Location": "/new"})
    site.routes["/ring1"] = Answer(status=302, headers={"Location": "/ring2"})
    site.routes["/ring2"] = Answer(status=302, headers={"Location": "/ring1"})
    site.routes["/self"] = Answer(status=302, headers={"Location": "/self"})
    site.routes["/away"] = Answer(status=302, headers={"Location": "http://elsewhere.example/"})
    for step in range(20):
        site.routes[f"/chain{step}"] = Answer(status=307, headers={"Location": f"/chain{step + 1}"})
    crawler.network["max_redirects"] = 4
    crawler.run(site.url)
    assert set(crawler.pages()) == {f"{site.url}/", f"{site.url}/new"}
    reasons = {url.removeprefix(site.url): reason for url, (reason, _) in crawler.rejects().items()}
    assert reasons["/old"] == "redirected"
    assert reasons["/ring2"] == reasons["/self"] == reasons["/chain4"] == "redirect_loop"
    assert reasons["/away"] == "off_scope"
    assert site.asked("/chain5") == 0


def test_a_redirect_to_a_private_address_is_refused(site: Site, tmp_path: Path) -> None:
    with serve() as forbidden:
        forbidden.page("/", "internal")
        site.page("/", "home", images=("/hop.png",))
        target = f"http://127.0.0.1:{forbidden.port}/"
        site.routes["/hop.png"] = Answer(status=302, headers={"Location": target})
        crawler = Crawler(tmp_path / "home", {"allow_private_hosts": [f"127.0.0.1:{site.port}"]})
        crawler.run(site.url)
        assert forbidden.requests == []
        assert crawler.rejects()[target][0] == "blocked_address"


def test_private_addresses_are_blocked_unless_allowed(site: Site, crawler: Crawler) -> None:
    site.page("/", "home")
    crawler.network["allow_private_hosts"] = []
    report = crawler.run(site.url, f"http://localhost:{site.port}/")
    assert {reason for reason, _ in crawler.rejects().values()} == {"blocked_address"}
    assert site.requests == []
    assert any("no source could be reached" in note for note in report.notes)


def test_an_unreachable_host_is_one_reject_and_the_others_go_on(site: Site, crawler: Crawler) -> None:
    site.page("/", "home")
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{placeholder.getsockname()[1]}/"
        report = crawler.run(dead, "http://name.invalid/", site.url)
        assert set(crawler.pages()) == {f"{site.url}/"}
        rejects = crawler.rejects()
        assert {url: reason for url, (reason, _) in rejects.items()} == {
            dead: "unreachable",
            "http://name.invalid/": "unreachable",
        }
        assert "Connect call failed" in rejects[dead][1]
        assert report.rejects == {"unreachable": 2}
        assert crawler.run(dead, "http://name.invalid/", site.url).batches == 0


def slow(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"only this")
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.end_headers()
    while True:
        handler.wfile.write(b"y" * 65536)


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def test_hostile_answers_end_in_a_named_state_and_the_rest_proceeds(site: Site, crawler: Crawler) -> None:
    site.routes |= {"/slow": slow, "/cut": cut_off, "/endless": endless, "/reset": reset}
    packed = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    site.routes["/bomb"] = Answer(gzip.compress(b"\0" * 5_000_000), headers=packed)
    site.routes["/badgzip"] = Answer(b"this is no gzip", headers=packed)
    site.routes["/baddeflate"] = Answer(b"\xff\xff no deflate", headers=packed | {"Content-Encoding": "deflate"})
    site.routes["/unasked"] = Answer(b"", 304)
    site.routes["/when"] = Answer(b"", 429, {"Retry-After": "²"})
    site.routes["/large"] = Answer(b"z" * 300_000)
    site.routes["/zip"] = Answer(b"PK", headers={"Content-Type": "application/zip"})
    site.routes["/gone"] = Answer(b"", 410)
    site.routes["/secret"] = Answer(b"", 403)
    site.routes["/broken"] = Answer(b"", 500)
    names = [name for name in site.routes if name != "/"]
    site.page("/", "home", links=(*names, "/missing", "/fine"))
    html = '<p>fine</p><img src="/one.png" width="²">'
    headers = {"Content-Type": "text/html; charset=hex", "Last-Modified": "Mon, 01 Jan 99999 00:00:00 GMT"}
    site.routes["/fine"] = Answer(html.encode() + b"\xff", headers=headers)
    crawler.network |= {"timeout": 1.0, "max_bytes": "200kB"}
    started = time.monotonic()
    crawler.run(site.url)
    assert time.monotonic() - started < 20
    assert set(crawler.pages()) == {f"{site.url}/", f"{site.url}/fine"}
    rejects = crawler.rejects()
    assert rejects[f"{site.url}/unasked"][1] == "HTTP 304 (not modified), though nothing was said of a stored version"
    reasons = {url.removeprefix(site.url): reason for url, (reason, _) in rejects.items()}
    assert reasons == {
        "/slow": "timeout", "/cut": "bad_response", "/endless": "too_large", "/reset": "bad_response",
        "/bomb": "too_large", "/badgzip": "bad_response", "/baddeflate": "bad_response",
        "/unasked": "bad_response", "/when": "client_error", "/large": "too_large", "/zip": "wrong_type",
        "/gone": "not_found", "/secret": "client_error", "/broken": "server_error", "/missing": "not_found",
        "/one.png": "not_found",
    }  # fmt: skip


def test_a_server_that_recovers_is_asked_again_within_the_run(site: Site, crawler: Crawler) -> None:
    page = Answer(b"<p>here again</p>")

    def flaky(handler: BaseHTTPRequestHandler) -> None:
        site.routes["/"] = page
        handler.send_response(503)
        handler.send_header("Retry-After", "0")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    site.routes["/"] = flaky
    assert crawler.run(site.url).outputs == {"pages": 1}
    assert site.asked("/") == 2


def test_a_long_retry_after_puts_the_host_off_until_later(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/a", "/b", "/c", "/d", "/e", "/f"))
    for name in "abcdef":
        site.routes[f"/{name}"] = Answer(b"", 429, {"Retry-After": "315360000"})
    crawler.run(site.url)
    assert crawler.rejects()[f"{site.url}/a"] == ("client_error", "HTTP 429, Retry-After 315360000")
    asked = len(site.requests)
    assert asked <= 2 + 4  # robots.txt, the home page, and at most those in flight
    crawler.run(site.url)
    assert len(site.requests) == asked


def test_scope_depth_and_limits(site: Site, crawler: Crawler) -> None:
    site.page("/", "home", links=("/1", "/x", "/y", "/z", "http://other.example/"))
    site.page("/1", "one", links=("/2",))
    site.page("/2", "two")
    for name in "xyz":
        site.page(f"/{name}", name)
    source = {"url": site.url, "depth": 1, "max_pages": 3}
    crawler.run(source)
    assert set(crawler.pages()) == {f"{site.url}{path}" for path in ("/", "/1", "/x", "/y")}
    crawler.run(source)  # what the limit kept out comes with the next run
    assert f"{site.url}/z" in crawler.pages()
    assert f"{site.url}/2" not in crawler.pages()
    crawler.run({**source, "depth": 2})
    assert f"{site.url}/2" in crawler.pages()


def test_rights_and_licence_are_recorded(site: Site, crawler: Crawler) -> None:
    html = b'<meta name="robots" content="noimageai"><a rel="license" href="https://example.org/by">CC</a>'
    headers = {"Content-Type": "text/html", "X-Robots-Tag": "noai, otherbot: noindex", "TDM-Reservation": "1"}
    site.routes["/"] = Answer(html, headers=headers)
    crawler.run(site.url)
    page = crawler.pages()[f"{site.url}/"]
    assert [describe(signal) for signal in read_rights(str(page["rights"]))] == [
        "noai (x-robots-tag)", "noindex (x-robots-tag to otherbot)", "tdm-reservation=1 (tdm-header)",
        "noimageai (meta)",
        "licence (link https://example.org/by)",
    ]  # fmt: skip
    assert page["licence"] == "https://example.org/by"


def test_sitemaps_and_feeds_bring_links_and_are_not_stored_themselves(site: Site, crawler: Crawler) -> None:
    site.routes["/sitemap.xml"] = Answer(
        f'<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><sitemap><loc>{site.url}/deep.xml.gz</loc>'
        "</sitemap></sitemapindex>".encode(),
        headers={"Content-Type": "application/xml"},
    )
    deep = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{site.url}/a</loc></url></urlset>'
    site.routes["/deep.xml.gz"] = Answer(gzip.compress(deep.encode()), headers={"Content-Type": "application/gzip"})
    site.page("/a", "from the sitemap")
    site.routes["/feed.xml"] = Answer(
        f'<rss version="2.0"><channel><title>t</title><item><title>i</title><link>{site.url}/b</link>'
        f'<enclosure url="{site.url}/b.wav" type="audio/wav" length="4"/></item></channel></rss>'.encode(),
        headers={"Content-Type": "application/rss+xml"},
    )
    site.page("/b", "from the feed")
    site.routes["/b.wav"] = Answer(b"RIFF", headers={"Content-Type": "audio/wav"})
    crawler.run(f"{site.url}/sitemap.xml", f"{site.url}/feed.xml")
    assert set(crawler.pages()) == {f"{site.url}{path}" for path in ("/a", "/b", "/b.wav")}
    assert crawler.rejects() == {}


def test_a_site_tells_of_pages_that_no_link_leads_to_in_the_sitemaps_of_its_robots_txt(
    site: Site, crawler: Crawler
) -> None:
    robots = f"Sitemap: {site.url}/map.xml\nSitemap: /map.xml\nSitemap: http://elsewhere.example/map.xml\n"
    site.routes["/robots.txt"] = Answer(robots.encode(), headers={"Content-Type": "text/plain"})
    xmlns = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    site.routes["/map.xml"] = Answer(
        f"<urlset {xmlns}><url><loc>{site.url}/island</loc></url></urlset>".encode(),
        headers={"Content-Type": "application/xml"},
    )
    site.page("/", "home")
    site.page("/island", "no page links here", links=("/beach",))
    site.page("/beach", "two steps from the seed")
    crawler.run({"url": site.url, "kind": "site", "depth": 1})
    assert {page.removeprefix(site.url) for page in crawler.pages()} == {"/", "/island"}
    assert site.asked("/map.xml") == 1
    alone = Crawler(crawler.root.with_name("alone"))
    alone.run({"url": site.url, "kind": "site", "depth": 0}, {"url": f"{site.url}/beach", "kind": "page"})
    assert {page.removeprefix(site.url) for page in alone.pages()} == {"/", "/beach"}
    assert site.asked("/map.xml") == 1


def test_sitemaps_that_name_each_other_with_a_date_to_come_are_asked_once(site: Site, crawler: Crawler) -> None:
    xmlns = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    for name, other in (("/sitemap.xml", "/b.xml"), ("/b.xml", "/sitemap.xml")):
        entry = f"<sitemap><loc>{site.url}{other}</loc><lastmod>2099-01-01</lastmod></sitemap>"
        site.routes[name] = Answer(f"<sitemapindex {xmlns}>{entry}</sitemapindex>".encode())
    crawler.network["max_run_seconds"] = 3
    crawler.run(f"{site.url}/sitemap.xml")
    assert (site.asked("/sitemap.xml"), site.asked("/b.xml")) == (1, 1)


@pytest.mark.parametrize("status", [200, 503])
def test_a_crawl_delay_beyond_the_longest_wait_lets_one_request_a_run_follow_robots(
    site: Site, crawler: Crawler, status: int
) -> None:
    site.routes["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 2\n", headers={"Content-Type": "text/plain"})
    site.page("/", "home", links=("/a", "/b"), images=("/one.png",))
    page = site.routes["/"]
    assert isinstance(page, Answer)
    page.status, page.validate = status, True
    crawler.network |= {"ask_tdmrep": True, "max_retry_after": 1, "retries": 2}
    crawler.run(site.url)
    crawler.run(site.url)  # at once: too early
    assert [path for _, path, _ in site.requests] == ["/robots.txt", "/"]
    time.sleep(max(0.0, site.requests[-1][0] + 2.3 - time.monotonic()))
    page.headers = {**page.headers, "TDM-Reservation": "1"}  # a 304 that says more would cost a second request
    crawler.run(site.url)
    assert [path for _, path, _ in site.requests] == ["/robots.txt", "/"] * 2
    assert site.requests[2][0] - site.requests[1][0] >= 2
