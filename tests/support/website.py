"""A real web server on loopback whose answers a test writes down, and a home that crawls it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa

from catalog.home import Home
from catalog.proving import drivers
from catalog.settings import Config
from catalog.stage import StageReport
from ingest.crawl_job import run_crawl

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000" "1f15c4890000000a49444154789c6360000000020001"
    "48afa4710000000049454e44ae426082"
)  # fmt: skip


@dataclass
class Answer:
    """What one path says; `validate` answers conditional requests with 304."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/html; charset=utf-8"})
    validate: bool = False


Route = Answer | Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Site:
    """Routes by path; every request is noted with its time and headers."""

    port: int
    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str, text: str, links: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> None:
        anchors = "".join(f'<a href="{link}">{link}</a>' for link in links)
        pictures = "".join(f'<img src="{image}" alt="one">' for image in images)
        html = f"<!doctype html><title>{path}</title><p>{text}</p>{anchors}{pictures}"
        self.routes[path] = Answer(html.encode())

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(asked == path for _, asked, _ in self.requests)


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        timeout = 5

        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append((time.monotonic(), self.path, dict(self.headers)))
            route = site.routes.get(self.path, Answer(b"nothing here", 404))
            if not isinstance(route, Answer):
                route(self)
                return
            tag = f'"{sha256(route.body).hexdigest()[:16]}"'
            fresh = route.validate and self.headers.get("If-None-Match") == tag
            self.send_response(304 if fresh else route.status)
            for name, value in route.headers.items():
                self.send_header(name, value)
            if route.validate:
                self.send_header("ETag", tag)
                self.send_header("Last-Modified", formatdate(0, usegmt=True))
            if not fresh:
                self.send_header("Content-Length", str(len(route.body)))
            self.end_headers()
            if not fresh:
                self.wfile.write(route.body)

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are what some tests are about."""


@contextmanager
def serve(routes: dict[str, Route] | None = None) -> Iterator[Site]:
    """Serve a site on a free loopback port."""
    site = Site(0, routes or {})
    server = _Server(("127.0.0.1", 0), handler_of(site))
    site.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Crawler:
    """A home with settings that are quick on loopback."""

    root: Path
    network: dict[str, object] = field(default_factory=dict)

    def config(self, *sources: object) -> Config:
        network = {
            "allow_private_hosts": ["127.0.0.1"], "ask_tdmrep": False, "delay": 0, "retry_delay": 0.01, "retries": 1,
            "timeout": 5,
        }  # fmt: skip
        given = {"root": str(self.root), "data_sources": list(sources), "network": network | self.network}
        return Config(given)

    def run(self, *sources: object) -> StageReport:
        """Crawl once."""
        config = self.config(*sources)
        return run_crawl(Home.open(config.catalog), config)

    def home(self) -> Home:
        return Home.open(self.config().catalog)

    def pages(self) -> dict[str, dict[str, object]]:
        """The stored pages by URL; a URL that was stored twice fails the test."""
        rows = self.home().view().read("pages").to_pylist()
        assert len({row["page_id"] for row in rows}) == len(rows), "a page was stored twice"
        return {row["url"]: row for row in sorted(rows, key=lambda row: row["fetched_at"])}

    def rejects(self) -> dict[str, tuple[str, str]]:
        """Reason and detail of what was turned away, by URL."""
        rows = self.home().view().read("rejects").to_pylist()
        assert len({(row["url"], row["reason"]) for row in rows}) == len(rows), "a reject was stored twice"
        return {row["url"]: (row["reason"], row["detail"]) for row in rows}

    def table(self, name: str) -> pa.Table:
        return self.home().view().read(name)


def deep(source: str) -> dict[str, object]:
    """A source without limits that a test's site could reach."""
    return {"url": source, "depth": 30, "max_pages": 100_000, "max_media": 100_000}


def crawl_once(root: Path, source: str, moment: str = "") -> None:
    """Be one crawl in a process of its own, in small segments, that may be killed at `moment`."""
    drivers.arm(moment)
    Crawler(root, {"segment_records": 60}).run(deep(source))
