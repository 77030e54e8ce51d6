"""Crawl loopback sites with headrace and with Scrapy: the same pages, politeness off, WARC written on both sides.

`python -m benchmarks.crawl [--pages N] [--rounds N] [--json]`. A server in a process of its own answers for HOSTS
loopback addresses with pages made before the clock starts. Each crawler runs in a process of its own, in turns, and is
timed from its first request to its last page on disk, imports left out; headrace also keeps its frontier on disk and
publishes its batches. `ratio` is headrace's pages per second over Scrapy's. A crawl of a tenth of the pages shows
whether memory grows with the input.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import peers

FOLDER = Path(__file__).parent
HOSTS = 4
CONCURRENCY = 16
PER_HOST = 8
LINKS = 40
WORDS = 3000


def make_pages(pages: int) -> dict[str, bytes]:
    """Return the HTML of one site by path: a tree of ten children a page, and links across it."""
    rng = random.Random(20260101)
    vocabulary = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(2, 11))) for _ in range(5000)]
    made = {}
    for number in range(pages):
        targets = [child for child in range(10 * number + 1, 10 * number + 11) if child < pages]
        targets += rng.choices(range(1, pages), k=LINKS - len(targets))  # Scrapy would fetch a linked seed twice
        words = rng.choices(vocabulary, k=WORDS)
        paragraphs = "".join(f"<p>{' '.join(words[at : at + 60])}.</p>\n" for at in range(0, WORDS, 60))
        anchors = "".join(f'<li><a href="/{target}.html">page {target}</a></li>\n' for target in targets)
        head = f"<!doctype html><html><head><title>page {number}</title></head>"
        html = f"{head}<body>{paragraphs}<ul>{anchors}</ul></body></html>"
        made[f"/{number}.html"] = html.encode()
    return made


def serve(pages: int, ready: Connection) -> None:
    """Answer for every host until the process is ended; all hosts show the same pages."""
    import asyncio

    answers = {b"GET " + path.encode(): _answer(200, body) for path, body in make_pages(pages).items()}
    missing = _answer(404, b"nothing here")

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self._transport, self._data = transport, b""

        def data_received(self, data: bytes) -> None:
            self._data += data
            while b"\r\n\r\n" in self._data:
                head, _, self._data = self._data.partition(b"\r\n\r\n")
                self._transport.write(answers.get(head.partition(b" HTTP/")[0], missing))

    async def main() -> None:
        first = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        for host in range(2, HOSTS + 1):
            await asyncio.get_running_loop().create_server(Server, f"127.0.0.{host}", port)
        ready.send([f"http://127.0.0.{host}:{port}/0.html" for host in range(1, HOSTS + 1)])
        await asyncio.Event().wait()

    asyncio.run(main())


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def compare(pages: int, rounds: int) -> dict[str, Any]:
    """Crawl `pages` pages in all with each crawler, `rounds` times in turns."""
    scrapy = peers.python()
    sides = {"headrace": [sys.executable, "-m", "benchmarks.crawl_headrace"]}
    if scrapy:
        sides["scrapy"] = [str(scrapy), str(FOLDER / "crawl_scrapy.py")]
    else:
        print(peers.missing("scrapy"), file=sys.stderr)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    with _server(pages // HOSTS) as seeds:
        for _ in range(rounds):
            for name, command in sides.items():
                runs[name].append(_crawl(command, seeds, pages // HOSTS * HOSTS))
    with _server(pages // HOSTS // 10) as seeds:
        small = _crawl(sides["headrace"], seeds, pages // HOSTS // 10 * HOSTS)
    result: dict[str, Any] = {name: _median(found) for name, found in runs.items()}
    result["headrace"]["peak_mib_at_a_tenth"] = small["peak_mib"]
    if scrapy:
        pairs = zip(runs["headrace"], runs["scrapy"], strict=True)
        result["ratio"] = statistics.median(ours["pages_per_s"] / theirs["pages_per_s"] for ours, theirs in pairs)
        result["target"] = 1.5
    return result


@contextmanager
def _server(pages: int) -> Iterator[list[str]]:
    """Serve the sites in a process of its own and give their seeds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(pages, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a server which fails to start ends our waiting
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _crawl(command: Sequence[str], seeds: Sequence[str], wanted: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        given = {"folder": folder, "seeds": list(seeds), "concurrency": CONCURRENCY, "per_host": PER_HOST}
        output = subprocess.run([*command, json.dumps(given)], cwd=FOLDER.parent, stdout=subprocess.PIPE, check=True)
        found = json.loads(output.stdout)
        stored = sum(_responses(path) for path in Path(folder).rglob("*.warc.gz"))
    assert found["pages"] == stored == wanted, f"{found['pages']} pages reported, {stored} stored, {wanted} there are"
    return {
        "pages_per_s": wanted / found["seconds"],
        "cpu_ms_per_page": 1000 * found["cpu"] / wanted,
        "peak_mib": found["peak_mib"],
    }


def _responses(path: Path) -> int:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with path.open("rb") as file:
        return sum(1 for _ in ArchiveIterator(file, record_types=WarcRecordType.response))


def _median(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def main(arguments: Sequence[str]) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=5000, help="of all sites together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    result = compare(given.pages, given.rounds)
    print(json.dumps(result) if given.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
