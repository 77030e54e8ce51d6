"""Opt-outs from the server to the dataset: recorded once, judged again under other settings without another request."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from website import PNG, Answer, Crawler, Site, serve

from catalog.home import Home
from catalog.settings import Config
from catalog.stage import StageReport
from catalog.why import why
from ingest.job import EXTRACT

WORDS = "<p>The race runs from the weir to the wheel, and the wheel turns the stones of the old mill.</p>"


def picture(number: int, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(PNG + bytes([number]), headers={"Content-Type": "image/png", **given})


@pytest.fixture
def site() -> Iterator[Site]:
    with serve() as site:
        links = "".join(
            f'<a href="{path}">x</a>' for path in ("/noai", "/noimages", "/one-agent", "/closed/page", "/open")
        )
        images = '<img src="/free.png" alt="free"><img src="/header.png" alt="header">'
        site.routes |= {
            "/": Answer(f"{WORDS}{images}{links}".encode()),
            "/noai": Answer(f'<meta name="robots" content="noai">{WORDS} one'.encode()),
            "/noimages": Answer(
                f'<meta name="robots" content="noimageai">{WORDS} two <img src="/hop.png" alt="theirs">'.encode()
            ),
            "/one-agent": Answer(f'<meta name="GPTBot" content="noai">{WORDS} three'.encode()),
            "/closed/page": Answer(f"{WORDS} four".encode()),
            "/open": Answer(f"{WORDS} five".encode()),
            "/free.png": picture(1), "/header.png": picture(2, X_Robots_Tag="noai"), "/theirs.png": picture(3),
            "/hop.png": Answer(status=302, headers={"Location": "/theirs.png"}),
            "/.well-known/tdmrep.json": Answer(
                json.dumps([{"location": "/closed/", "tdm-reservation": 1, "tdm-policy": "/policy.json"}]).encode()
            ),
        }  # fmt: skip
        yield site


def extract(config: Config, **settings: object) -> tuple[StageReport, set[str], dict[str, str]]:
    """Extract under these settings; return the report, what is kept and what is refused with which signal."""
    changed = Config({**config.given, **settings})
    home = Home.open(changed.catalog)
    report = EXTRACT.run(home, changed)
    view = home.view()
    kept = {row["url"] for table in ("documents", "media") for row in view.read(table).to_pylist()}
    rejects = view.read("rejects").to_pylist()
    refused = {row["url"]: row["detail"].partition(";")[0] for row in rejects if row["reason"] == "noai"}
    return report, kept, refused


def test_opt_outs_are_kept_with_each_asset_and_judged_by_the_settings(site: Site, tmp_path: Path) -> None:
    crawler = Crawler(tmp_path / "home", {"ask_tdmrep": True})
    crawler.run(site.url)
    requests = len(site.requests)
    config = crawler.config(site.url)

    def at(*paths: str) -> set[str]:
        return {f"{site.url}{path}" for path in paths}

    _, kept, refused = extract(config)
    assert kept == at("/", "/noimages", "/one-agent", "/open", "/free.png")
    assert refused == {
        f"{site.url}/noai": "its owner says noai (meta)",
        f"{site.url}/header.png": "its owner says noai (x-robots-tag)",
        f"{site.url}/theirs.png": f"its owner says noimageai (page {site.url}/noimages)",
        f"{site.url}/closed/page": f"its owner says tdm-reservation=1 (tdmrep.json {site.url}/policy.json)",
    }
    documents = {row["url"]: row for row in crawler.table("documents").to_pylist()}
    assert documents[f"{site.url}/noimages"]["media"] == []  # its text may be used, its pictures may not
    story = json.dumps(why(crawler.home(), f"{site.url}/closed/page"))
    assert "tdm-reservation=1 (tdmrep.json" in story

    everything = at("/", "/noai", "/noimages", "/one-agent", "/closed/page", "/open")
    everything |= at("/free.png", "/header.png", "/theirs.png")
    _, kept, refused = extract(config, extract={"respect_rights": False})
    assert (kept, refused) == (everything, {})
    _, kept, refused = extract(config, extract={"opt_outs": ["noimageai"]})
    assert everything - kept == at("/theirs.png")
    network = dict(config.given["network"]) | {"user_agent": "GPTBot"}
    _, kept, refused = extract(config, network=network)
    assert refused[f"{site.url}/one-agent"] == "its owner says noai (meta to gptbot)"
    assert len(site.requests) == requests
    assert site.asked("/.well-known/tdmrep.json") == 1


def test_a_robots_file_on_another_host_is_asked_for_at_that_hosts_pace(site: Site, tmp_path: Path) -> None:
    with serve() as other:
        other.routes["/robots.txt"] = Answer(
            b"User-agent: *\nDisallow: /noai\n", headers={"Content-Type": "text/plain"}
        )
        other.page("/", "other")
        hops = [f"/hop{number}" for number in range(4)]
        site.routes |= {
            one: Answer(status=301, headers={"Location": next_one})
            for one, next_one in zip(["/robots.txt", *hops], [*hops, f"{other.url}/robots.txt"], strict=True)
        }
        crawler = Crawler(tmp_path / "home", {"delay": 0.2})
        crawler.run({"url": site.url, "max_pages": 3}, other.url)
        assert crawler.rejects()[f"{site.url}/noai"][0] == "robots_denied"  # after five redirects, RFC 9309, 2.3.1.2
        times = [moment for moment, _, _ in other.requests]
        assert len(times) >= 3
        assert min(later - earlier for earlier, later in pairwise(times)) >= 0.2
