"""Reading other people's WARC files: records as the intake takes them, against bare iteration with fastwarc.

`python -m benchmarks.warc_read [--site DIR] [--pages DIR] [--records N] [--json]`. Both sides read the same payload
bytes of the same gzip members with the same decoding, each in a process of its own, in turns, and the fastest round
counts. Ours also makes of each record what the crawl stores of it (canonical URL, headers, date, verdict on status and
type). Two pairs are compared: with the records' block digests verified on both sides, as the intake does unless
`verify_digests` is off, and with neither side looking at digests. Peak memory is taken on a file ten times larger too.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROUNDS = 5
TYPES = {".html": "text/html", ".png": "image/png", ".jpg": "image/jpeg", ".wav": "audio/wav"}


def make_archive(path: Path, bodies: Sequence[tuple[str, bytes]], num_records: int) -> None:
    """Write responses with distinct URLs, one gzip member each, with the digests that warcio computes."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "benchmarks/warc_read.py"}))
        for number in range(num_records):
            content_type, body = bodies[number % len(bodies)]
            headers = [
                ("Server", "nginx"), ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Content-Type", content_type),
                ("Content-Length", str(len(body))), ("Cache-Control", "max-age=3600"), ("ETag", f'"{number}"'),
            ]  # fmt: skip
            http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
            url = f"http://host{number % 100}.example.org/{number}"
            record = {"payload": io.BytesIO(body), "length": len(body), "http_headers": http}
            writer.write_record(writer.create_warc_record(url, "response", **record))


def bodies_of(site: Path, pages: Path | None) -> list[tuple[str, bytes]]:
    """Return type and bytes of the pages, pictures and recordings to repeat."""
    files = [path for path in sorted(site.rglob("*")) if path.suffix in TYPES]
    found = [(TYPES[path.suffix], path.read_bytes()) for path in files]
    packed = sorted(pages.glob("*.html.gz")) if pages else []
    return found + [("text/html", gzip.decompress(path.read_bytes())) for path in packed]


def bare(path: Path, verify: bool) -> Iterator[int]:
    """Iterate with fastwarc alone; yield the length of each decoded payload."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with path.open("rb") as stream:
        responses = ArchiveIterator(
            stream, record_types=WarcRecordType.response, parse_http=not verify, auto_decode="all"
        )
        for record in responses:
            if verify:
                assert record.verify_block_digest()
                record.parse_http(auto_decode="all")
            yield len(record.reader.read())


def ours(path: Path, verify: bool) -> Iterator[int]:
    """Read as the intake does; yield the length of each payload that it would store."""
    from ingest.archives import read_archive
    from ingest.fetch import Response
    from ingest.inputs import File
    from ingest.settings import NetworkSettings

    for item in read_archive(File(str(path), ""), 0, NetworkSettings(), verify):
        assert isinstance(item.content, Response), item.content
        yield len(item.content.body)


def serve(pipe: Connection) -> None:
    """Read what is asked for: (side, path, verify) → (records, bytes, seconds, CPU seconds, peak MiB)."""
    sides: dict[str, Callable[[Path, bool], Iterator[int]]] = {"bare": bare, "ours": ours}
    while (asked := pipe.recv()) is not None:
        side, path, verify = asked
        started, spent = time.perf_counter(), time.process_time()
        sizes = list(sides[side](path, verify))
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
        pipe.send((len(sizes), sum(sizes), seconds, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(small: Path, large: Path, rounds: int) -> dict[str, Any]:
    """Read the small file `rounds` times on each side in turns, and the large one once on ours."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for side in ("bare", "ours"):
        pipes[side], theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs,)))
        processes[-1].start()
    best: dict[tuple[str, bool], tuple[Any, ...]] = {}
    for verify in (True, False):
        for _ in range(rounds):
            for side, pipe in pipes.items():
                pipe.send((side, small, verify))
                found = pipe.recv()
                key = (side, verify)
                best[key] = min(best.get(key, found), found, key=lambda one: one[2])
    peak_small = max(best["ours", verify][4] for verify in (True, False))
    pipes["ours"].send(("ours", large, True))
    large_found = pipes["ours"].recv()
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(None)
        process.join()
    assert len({found[:2] for found in best.values()}) == 1, "the sides read different bytes"
    names = {("ours", True): "ours", ("bare", True): "fastwarc", ("ours", False): "ours_unverified"}
    names["bare", False] = "fastwarc_unverified"
    seconds = {name: best[key][2] for key, name in names.items()}
    return {
        "records": best["ours", True][0],
        "payload_mb": best["ours", True][1] / 1e6,
        "archive_mb": small.stat().st_size / 1e6,
        "records_per_second": {name: best[key][0] / best[key][2] for key, name in names.items()},
        "mb_per_second": {name: best[key][1] / 1e6 / best[key][2] for key, name in names.items()},
        "cpu_seconds": {name: best[key][3] for key, name in names.items()},
        "cpu_ratio_verified": best["bare", True][3] / best["ours", True][3],
        "ratio_verified": seconds["fastwarc"] / seconds["ours"],
        "ratio_unverified": seconds["fastwarc_unverified"] / seconds["ours_unverified"],
        "ratio_ours_verified_to_fastwarc_unverified": seconds["fastwarc_unverified"] / seconds["ours"],
        "peak_mib": {"ours": peak_small, "ours_ten_times_the_records": large_found[4]},
        "ten_times": {"records": large_found[0], "records_per_second": large_found[0] / large_found[2]},
    }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Print rates, ratios and peak memory."""
    shared = Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "index", type=Path, nargs="?", default=shared / "site" / "index.html", help="of the site folder"
    )
    parser.add_argument("--pages", type=Path, default=None, help="a folder of .html.gz; beside the site by default")
    parser.add_argument("--records", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    pages = given.pages or given.index.parent.parent / "pages"
    bodies = bodies_of(given.index.parent, pages if pages.is_dir() else None)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "small.warc.gz"), Path(folder, "large.warc.gz")
        make_archive(small, bodies, given.records)
        with large.open("wb") as file:  # an archive is a sequence of members
            for _ in range(10):
                file.write(small.read_bytes())
        found = measure(small, large, given.rounds)
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
