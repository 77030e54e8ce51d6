"""Crawls that are killed, resumed and repeated, over a site of many pages; and a whole real site."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from warcio.checker import Checker
from website import PNG, Answer, Crawler, Site, crawl_once, deep, serve

from catalog.proving import drivers
from catalog.warc import iterate_segment
from ingest.segment_rows import segment_tables

PAGES = int(os.environ.get("HEADRACE_TEST_PAGES", "120"))  # the long form: 2000, with 30 kills
IN_FLIGHT = 4  # requests to one host at a time
KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "6"))


def build(site: Site) -> None:
    """A site whose pages link in a binary tree, each with a picture of its own."""
    for number in range(1, PAGES + 1):
        links = tuple(f"/{child}" for child in (2 * number, 2 * number + 1) if child <= PAGES)
        site.page(f"/{number}", f"page {number}", links, (f"/{number}.png",))
        site.routes[f"/{number}.png"] = Answer(PNG + str(number).encode(), headers={"Content-Type": "image/png"})


def moments(count: int) -> list[str]:
    """Failpoints of the crawl's commit chain, each in turn, then random passings of the early ones and any moment."""
    rng = random.Random(20260101)
    names = ["record", "seal", "sealed", "applied", "stored", "table"]
    names += ["record", "record", "time", "record", "record"] * (1 + count // 5)
    return [
        f"time {rng.uniform(0.2, 0.8):.3f}" if name == "time" else f"{name}:{rng.randint(1, LIMITS.get(name, 2))}"
        for name in names[:count]
    ]


LIMITS = {"record": 40}


def one_life(root: Path, source: str, moment: str) -> bool:
    """Crawl until killed at `moment`; tell whether that happened (else the crawl came to its end)."""
    if moment.startswith("time"):
        process = drivers.start(crawl_once, root, source)
        process.join(float(moment.split()[1]))
        process.kill()
        code = drivers.finish(process)
    else:
        code = drivers.run(crawl_once, root, source, moment)
    assert code in (0, drivers.KILLED), f"the crawl failed by itself (exit code {code})"
    return code == drivers.KILLED


@pytest.mark.slow
def test_a_crawl_killed_again_and_again_stores_every_page_exactly_once(tmp_path: Path) -> None:
    root = tmp_path / "home"
    with serve() as site:
        build(site)
        source = f"{site.url}/1"
        died = sum(one_life(root, source, moment) for moment in moments(KILLS))
        assert died >= min(KILLS, 3)
        assert died == KILLS or PAGES < 2000, "the long form's site is large enough for every kill"
        assert drivers.run(crawl_once, root, source) == 0
        crawler = Crawler(root)
        pages = crawler.pages()  # fails where a page was stored twice
        wanted = {f"{site.url}/{n}" for n in range(1, PAGES + 1)} | {f"{site.url}/{n}.png" for n in range(1, PAGES + 1)}
        assert set(pages) == wanted
        asked = Counter(path for _, path, _ in site.requests if path not in ("/robots.txt", "/1"))
        repeated = sum(asked.values()) - len(asked)
        assert repeated <= died * IN_FLIGHT  # only what was in flight is asked for again
        print(f"{len(pages)} stored once, {died} kills, {repeated} requests repeated")
        assert max(asked.values()) <= died + 1
        left = [path.name for path in (root / "crawl").iterdir()]
        assert left == []
        assert crawler.run(deep(source)).batches == 0


@pytest.mark.slow
def test_an_interrupted_crawl_keeps_what_it_fetched_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "home"
    with serve() as site:
        build(site)
        robots = b"User-agent: *\nCrawl-delay: 0.05\n"
        site.routes["/robots.txt"] = Answer(robots, headers={"Content-Type": "text/plain"})
        source = f"{site.url}/1"
        process = drivers.start(crawl_once, root, source)
        while len(site.requests) < 20:
            time.sleep(0.02)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        assert drivers.finish(process) != 0
        kept = len(Crawler(root).pages())
        assert 10 <= kept < 2 * PAGES
        del site.routes["/robots.txt"]
        crawl_once(root, source)
        assert len(Crawler(root).pages()) == 2 * PAGES


def test_a_real_site_is_crawled_whole_and_its_segments_are_valid(tmp_path: Path, shared: Path) -> None:
    folder = shared / "data" / "site"
    files = {f"/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
    types = {".html": "text/html", ".png": "image/png", ".wav": "audio/x-wav", ".jpg": "image/jpeg"}
    with serve() as site:
        for name, path in files.items():
            kind = types.get(path.suffix, "application/octet-stream")
            site.routes[name] = Answer(path.read_bytes(), headers={"Content-Type": kind}, validate=True)
            if path.name == "index.html":
                site.routes[name.removesuffix("index.html")] = site.routes[name]
        site.routes["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /guide/appendix\n", headers={})
        crawler = Crawler(tmp_path / "home", {"segment_records": 150})
        report = crawler.run({"url": f"{site.url}/", "depth": 10})
        pages = crawler.pages()
        kinds = Counter(str(row["content_type"]).partition("/")[0] for row in pages.values())
        assert kinds["text"] >= 180
        assert kinds["image"] >= 240
        assert kinds["audio"] == 15
        assert report.batches == -(-report.num_in // 150)
        assert report.num_in == report.num_processed + report.num_rejected
        assert not any(path.startswith("/guide/appendix") for _, path, _ in site.requests)
        crawler.network["recrawl_after"] = 0
        assert crawler.run({"url": f"{site.url}/", "depth": 10}).batches == 0
    home = crawler.home()
    for segment in (Path(home.warehouse) / "warc").rglob("*.warc.gz"):
        assert Checker(type("Arguments", (), {"inputs": [str(segment)], "verbose": False})).process_all() == 0
        records = list(iterate_segment("", str(segment)))
        assert records[0].kind == "warcinfo"
        assert sum(record.length for record in records) == segment.stat().st_size
        tables = segment_tables(home.warehouse, str(segment.relative_to(home.warehouse)))
        assert sum(table.num_rows for table in tables.values()) == len(records) - 1
