"""Many hosts on 127.0.0.x, each with its own robots.txt and delay, served by one process that logs every request."""

import asyncio
import multiprocessing
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection

DELAYS = (0.02, 0.05, 0.1, 0.15)
SLACK = 0.001  # seconds, of two clocks
FORBIDDEN = ("/private/", "/search?", "/tmp")


@dataclass(frozen=True)
class Request:
    """One line of the server's log."""

    time: float  # when its last header byte was read, on the server's monotonic clock
    answered: float  # when its answer was ready to be sent
    host: str
    path: str


@dataclass
class Farm:
    """A running farm."""

    port: int
    hosts: list[str]
    pipe: Connection

    def seeds(self) -> list[str]:
        return [f"http://{host}:{self.port}/0" for host in self.hosts]

    def log(self) -> list[Request]:
        """Everything that was asked so far."""
        self.pipe.send("log")
        assert self.pipe.poll(30)
        return [Request(*row) for row in self.pipe.recv()]


def delay_of(host: str) -> float:
    return DELAYS[int(host.rpartition(".")[2]) % len(DELAYS)]


def robots_of(host: str) -> bytes:
    lines = ["User-agent: *", *(f"Disallow: {path}" for path in FORBIDDEN), "Allow: /private/open"]
    if int(host.rpartition(".")[2]) % 3:
        lines.append(f"Crawl-delay: {delay_of(host)}")
    else:  # a group of our own wins over everyone's
        lines += ["", "User-agent: headrace", *lines[1:], f"Crawl-delay: {delay_of(host)}"]
    return "\n".join(lines).encode()


def page_of(host: str, number: int, pages: int) -> bytes:
    """A page of a binary tree, with links that robots.txt forbids among those that it allows."""
    children = [child for child in (2 * number + 1, 2 * number + 2) if child < pages]
    rng = random.Random(f"{host} {number}")
    links = [f"/{child}" for child in children] + [f"/private/{number}", f"/search?q={number}&p={rng.random()}", "/tmp"]
    rng.shuffle(links)
    anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
    return f"<!doctype html><title>{number}</title><p>page {number} of {host}</p>{anchors}".encode()


def feed_of(links: list[str]) -> bytes:
    """A feed that names a page on every host."""
    items = "".join(f"<item><title>{link}</title><link>{link}</link></item>" for link in links)
    return f'<rss version="2.0"><channel><title>all</title>{items}</channel></rss>'.encode()


def _serve(hosts: list[str], pages: int, pipe: Connection) -> None:
    log: list[tuple[float, float, str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked = time.monotonic()
                path = head.split(b" ", 2)[1].decode()
                number = path[1:]
                if path == "/robots.txt":
                    status, kind, body = 200, "text/plain", robots_of(host)
                elif path == "/feed.xml":
                    port = writer.get_extra_info("sockname")[1]
                    status, kind, body = (
                        200,
                        "application/rss+xml",
                        feed_of([f"http://{one}:{port}/0" for one in hosts]),
                    )
                elif number.isdigit() and int(number) < pages:
                    status, kind, body = 200, "text/html", page_of(host, int(number), pages)
                else:
                    status, kind, body = 404, "text/plain", b"nothing here"
                lines = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                log.append((asked, time.monotonic(), host, path))  # before the answer can have arrived
                writer.write(lines.encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        first = await asyncio.start_server(answer, hosts[0], 0)
        port = first.sockets[0].getsockname()[1]
        for host in hosts[1:]:
            await asyncio.start_server(answer, host, port)
        pipe.send(port)
        while True:
            await asyncio.sleep(0.05)
            if pipe.poll():
                pipe.recv()
                pipe.send(log)

    asyncio.run(main())


@contextmanager
def serve_farm(num_hosts: int, pages: int) -> Iterator[Farm]:
    """Serve `pages` allowed pages on each of `num_hosts` hosts until the block ends."""
    hosts = [f"127.0.0.{number}" for number in range(1, num_hosts + 1)]
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(hosts, pages, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(60), "the farm did not start"
        yield Farm(ours.recv(), hosts, ours)
    finally:
        process.kill()
        process.join()


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
