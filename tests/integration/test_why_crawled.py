"""One site on which everything that can become of a URL happens, and what `why` and `status` say of it."""

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from website import Answer, Site, serve

NOUNS = ["river", "bridge", "miller", "captain", "orchestra", "library", "winter", "harvest", "lantern", "village"]
VERBS = ["remembered", "carried", "painted", "followed", "repaired", "discovered", "measured", "described", "left"]
PLACES = ["near the old harbour", "behind the town hall", "across the mountains", "in the quiet valley"]
GERMAN = "Die Mühle am Fluss wurde im Jahr der großen Flut gebaut, und ihr Rad hat sich seither jeden Tag gedreht. " * 8


def story(seed: str) -> str:
    """A text of its own for each seed, in English."""
    rng = random.Random(seed)
    pick = rng.choice
    sentences = (
        f"The {pick(NOUNS)} of the {pick(NOUNS)} {pick(VERBS)} {rng.randint(2, 90)} of the {pick(NOUNS)}s "
        f"{pick(PLACES)}, and the {pick(NOUNS)} {pick(VERBS)} it with the {pick(NOUNS)}."
        for _ in range(8)
    )
    return " ".join(sentences)


def article(title: str, text: str, head: str = "", links: tuple[str, ...] = ()) -> Answer:
    anchors = "".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    html = f"<!doctype html><html><head><title>{title}</title>{head}</head><body><article><h1>{title}</h1><p>{text}</p>"
    return Answer(f"{html}</article><ul>{anchors}</ul></body></html>".encode())


def flaky(site: Site) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if site.asked("/flaky") > 2:
            site.routes["/flaky"] = article("back", story("bakery"))
        handler.send_response(503)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def build(site: Site) -> None:
    names = ("kept", "copy", "private", "noai", "large", "zip", "flaky", "moved", "thin", "german", "gone", "deep1")
    traps = ("/calendar/2091/01", "/list?" + "&".join(f"p{n}=1" for n in range(12)), "/a/" + "more/" * 6)
    links = tuple(f"/{name}" for name in names) + traps + ("http://elsewhere.example/",)
    site.routes |= {
        "/robots.txt": Answer(b"User-agent: *\nDisallow: /private\n", headers={"Content-Type": "text/plain"}),
        "/": article("home", story("town hall"), links=links),
        "/kept": article("kept", story("kept")), "/copy": article("kept", story("kept")),
        "/noai": article("noai", story("harbour"), '<meta name="robots" content="noai">'),
        "/large": Answer(b"<p>" + b"z" * 300_000),
        "/zip": Answer(b"PK", headers={"Content-Type": "application/zip"}),
        "/flaky": flaky(site),
        "/moved": Answer(status=301, headers={"Location": "/moved2"}),
        "/moved2": Answer(status=302, headers={"Location": "/target"}),
        "/target": article("target", story("lighthouse")),
        "/thin": article("thin", "Share this page with your friends | # and follow the news of the town | # " * 12),
        "/german": article("deutsch", GERMAN),
        "/gone": Answer(b"", 410),
        "/deep1": article("deep", story("castle"), links=("/deep2",)),
    }  # fmt: skip


def headrace(*arguments: str) -> Any:
    """Run the command as a user would and return the JSON that it prints."""
    command = [sys.executable, "-m", "catalog.cli", *arguments, "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    root = tmp_path_factory.mktemp("why") / "home"
    with serve() as site:
        build(site)
        config = {
            "root": str(root), "stages": ["crawl", "extract", "dedup"],
            "data_sources": [{"url": f"{site.url}/", "depth": 1, "class": "news", "share": 2}],
            "network": {
                "allow_private_hosts": ["127.0.0.1"], "delay": 0, "retry_delay": 0.01, "retries": 4,
                "max_bytes": "200kB",
            },
            "extract": {"languages": ["en"], "min_quality": 0.85},
        }  # fmt: skip
        (root.parent / "config.json").write_text(json.dumps(config))
        headrace("run", str(root.parent / "config.json"), "--root", str(root))
        yield site, root


def test_why_answers_for_everything_that_can_become_of_a_url(crawled: tuple[Site, Path]) -> None:
    from catalog import why as reporting
    from catalog.run import last_config

    site, root = crawled
    with reporting.Home.open(last_config(root).catalog) as home:

        def told(path: str) -> tuple[str, list[dict[str, Any]]]:
            found = reporting.why(home, path if "://" in path else f"{site.url}{path}")
            return found["state"], found["events"]

        expected = {
            "/private": ("rejected", "robots_denied", "Disallow: /private (line 2)"),
            "/noai": ("rejected", "noai", "its owner says"),
            "/large": ("rejected", "too_large", "more than 200000"),
            "/zip": ("rejected", "wrong_type", "application/zip"),
            "http://elsewhere.example/": ("rejected", "off_scope", f"not on 127.0.0.1:{site.port}"),
            "/calendar/2091/01": ("rejected", "trap", "a calendar: 2091-01"),
            "/list?" + "&".join(f"p{n}=1" for n in range(12)): ("rejected", "trap", "12 query parameters"),
            "/a/" + "more/" * 6: ("rejected", "trap", "'more' occurs 6 times"),
            "/thin": ("rejected", "low_quality", ""),
            "/german": ("rejected", "wrong_language", "de"),
            "/gone": ("rejected", "not_found", "HTTP 410"),
            "/deep2": ("rejected", "too_deep", "2 links from the source"),
        }
        for path, (state, reason, detail) in expected.items():
            found, events = told(path)
            assert (found, events[-1]["reason"]) == (state, reason), (path, events)
            assert detail in events[-1]["detail"], (path, events)
        states = {told("/kept")[0], told("/copy")[0]}
        assert states == {"kept", "duplicate"}
        duplicate = "/copy" if told("/copy")[0] == "duplicate" else "/kept"
        assert (told(duplicate)[1][-1]["outcome"], told(duplicate)[1][-1]["reason"]) == ("duplicate", "exact")

        state, events = told("/flaky")
        assert state == "kept"
        assert events[0]["detail"].count("HTTP 503") == 3  # the attempts before the one that brought the page
        state, events = told("/moved")
        hops = [event["detail"] for event in events if event["outcome"] == "redirected"]
        assert hops == [f"{site.url}/moved to {site.url}/moved2", f"{site.url}/moved2 to {site.url}/target"]
        assert state == "kept"


def test_status_tells_how_fresh_each_source_is(crawled: tuple[Site, Path]) -> None:
    from catalog.run import last_config
    from catalog.status import Home, freshness, status

    site, root = crawled
    config = last_config(root)
    with Home.open(config.catalog) as home:
        found = status(home, config)
    source = found["freshness"][f"{site.url}/"]
    assert (source["class"], source["share"], source["fresh_share"]) == ("news", 2.0, 1.0)
    assert source["stored"] == found["sources"]["news"]["pages"] == 9
    assert source["held"] == 5
    assert source["last_success"] is not None
    with sqlite3.connect(root / "frontier.db") as frontier:  # a day passes
        frontier.execute("UPDATE urls SET fetched_at = fetched_at - 86400")
    frontier.close()
    assert freshness(root, config)[f"{site.url}/"]["fresh_share"] == 0.0
