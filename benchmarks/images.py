"""Download pictures from loopback sites with headrace and with img2dataset in its raw mode, in turns.

`python -m benchmarks.images INDEX [--images N] [--rounds N] [--json]`; INDEX is a file in the folder whose pictures are
served, each several times with other trailing bytes, from HOSTS loopback addresses by a process of its own. headrace is
given pages that show the pictures: it asks robots.txt first and keeps it, reads the pages, writes WARC and publishes.
img2dataset is given the list of addresses, asks no robots.txt, neither decodes nor re-encodes, and writes tar shards;
it runs once in one process, its default, and once in as many as there are cores. Imports are left out of all times.
`ratio` is headrace's images per second over img2dataset's in its default; CPU counts all processes of each.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
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
SUFFIXES = {".jpg": "image/jpeg", ".png": "image/png"}
PER_PAGE = 100
ROBOTS = b"User-agent: *\nDisallow: /private/\n"
CONCURRENCY = 32
THREADS = 32  # of each of img2dataset's processes; 256, its default, was slower here


def make_answers(folder: Path, images: int) -> dict[str, bytes]:
    """Return the responses of one host by path: robots.txt, pages of PER_PAGE pictures each, and the pictures."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    answers = {"/robots.txt": answer("text/plain", ROBOTS)}
    shown = []
    for number in range(images):
        file = files[number % len(files)]
        path = f"/{number}{file.suffix}"
        body = file.read_bytes() + b"\0" * (number // len(files))  # decoders ignore what follows; a hash does not
        answers[path] = answer(SUFFIXES[file.suffix.lower()], body)
        shown.append(f'<p><img src="{path}" alt="{number}" width="300" height="200"></p>')
    pages = range(0, images, PER_PAGE)
    for number, first in enumerate(pages):
        html = "".join(shown[first : first + PER_PAGE]) + f'<a href="/page{number + 1}">next</a>' * (
            number + 1 < len(pages)
        )
        answers[f"/page{number}"] = answer("text/html", f"<!doctype html><title>{number}</title>{html}".encode())
    return answers


def answer(content_type: str, body: bytes, status: int = 200) -> bytes:
    """Return one HTTP response."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def serve(folder: Path, images: int, ready: Connection) -> None:
    """Answer for every host until the process is ended; send port and the pictures' paths."""
    known = make_answers(folder, images)
    answers = {f"GET {path}".encode(): body for path, body in known.items()}
    missing = answer("text/plain", b"nothing here", 404)

    class Server(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self._transport, self._data = transport, b""

        def data_received(self, data: bytes) -> None:
            self._data += data
            while b"\r\n\r\n" in self._data:
                head, _, self._data = self._data.partition(b"\r\n\r\n")
                self._transport.write(answers.get(head.partition(b" HTTP/")[0], missing))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(Server, "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        for host in range(2, HOSTS + 1):
            await loop.create_server(Server, f"127.0.0.{host}", port)
        ready.send((port, [path for path in known if Path(path).suffix.lower() in SUFFIXES]))
        await asyncio.Event().wait()

    asyncio.run(main())


@contextmanager
def serving(folder: Path, images: int) -> Iterator[tuple[list[str], list[str]]]:
    """Serve; yield the first page of each host and the addresses of all pictures."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(folder, images, theirs), daemon=True)
    process.start()
    theirs.close()  # so that a server which fails to start ends our waiting
    try:
        port, paths = ours.recv()
        hosts = [f"http://127.0.0.{host}:{port}" for host in range(1, HOSTS + 1)]
        yield [f"{host}/page0" for host in hosts], [f"{host}{path}" for path in paths for host in hosts]
    finally:
        process.terminate()
        process.join()


def compare(folder: Path, images: int, rounds: int) -> dict[str, Any]:
    """Download `images` pictures in all with each, `rounds` times in turns."""
    peer = peers.python()
    runs: dict[str, list[dict[str, float]]] = {"headrace": []}
    processes = {"img2dataset": 1, "img2dataset_all_cores": os.cpu_count() or 1} if peer else {}
    if not peer:
        print(peers.missing("img2dataset"), file=sys.stderr)
    with serving(folder, images // HOSTS) as (seeds, urls):
        for _ in range(rounds):
            pages = len(range(0, images // HOSTS, PER_PAGE)) * HOSTS
            given: dict[str, Any] = {"seeds": seeds, "concurrency": CONCURRENCY, "per_host": CONCURRENCY // HOSTS}
            found = run([sys.executable, "-m", "benchmarks.crawl_headrace"], given)
            assert found["pages"] == len(urls) + pages, f"{found['pages']} stored, {len(urls)} pictures, {pages} pages"
            runs["headrace"].append(figures(found, len(urls)))
            for name, number in processes.items():
                given = {"urls": urls, "processes": number, "threads": THREADS}
                found = run([str(peer), str(FOLDER / "images_peer.py")], given)
                assert found["images"] == len(urls), f"{found['images']} of {len(urls)} pictures"
                runs.setdefault(name, []).append(figures(found, len(urls)))
    result: dict[str, Any] = {
        name: {figure: statistics.median(run[figure] for run in found) for figure in found[0]}
        for name, found in runs.items()
    }
    for name in processes:
        pairs = zip(runs["headrace"], runs[name], strict=True)
        ratio = statistics.median(ours["images_per_s"] / theirs["images_per_s"] for ours, theirs in pairs)
        result["ratio" + name.removeprefix("img2dataset")] = ratio
    result["target"] = 1.0
    return result


def run(command: Sequence[str], given: dict[str, Any]) -> dict[str, float]:
    """Run one side in a process of its own, with a new folder."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        argument = json.dumps(given | {"folder": folder})
        quiet = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run([*command, argument], cwd=FOLDER.parent, stdout=subprocess.PIPE, check=True, env=quiet)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(found: dict[str, float], images: int) -> dict[str, float]:
    """Return what is compared."""
    return {
        "images_per_s": images / found["seconds"],
        "cpu_ms_per_image": 1000 * found["cpu"] / images,
        "peak_mib": found["peak_mib"],
    }


def main(arguments: Sequence[str]) -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, help="a file in the folder of pictures")
    parser.add_argument("--images", type=int, default=2000, help="of all hosts together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.parse_args(arguments)
    result = compare(given.index.parent, given.images, given.rounds)
    print(json.dumps(result) if given.json else json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
