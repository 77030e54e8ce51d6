"""Ask homes of a tenth of a million and of a million rows the questions that people ask: `why`, `status`, `search`.

`python -m benchmarks.scale [--rows N] [--json]`. The homes are published through the catalog in large batches (pages,
documents and vectors), which is timed too. Each question is asked in process, where the first `why` has to build the
key index, and as a command, whose peak memory is told: it may not grow with the corpus.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from catalog import schema
from catalog.home import Home
from catalog.ids import make_id
from catalog.search import by_example
from catalog.settings import CatalogSettings, Config
from catalog.stage import Stage, StageReport
from catalog.status import status
from catalog.why import why

PER_BATCH = 25_000  # pages, and as many documents
EACH_VECTOR = 4  # documents to one with a vector
DIMENSION = 64
FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
STAGE = Stage("crawl", (), ("pages", "documents", "text_features"), 1, lambda _: {}, lambda *_: StageReport("crawl"))
QUESTIONS = 21
# The peak that the system tells of a child that has ended counts its parent's memory at the fork.
COMMAND = """
import atexit, sys
from pathlib import Path
from catalog import cli
peak = Path(sys.argv.pop())
atexit.register(lambda: peak.write_text(Path("/proc/self/status").read_text()))
cli.main()
"""


def make_tables(batch: int, pages: int) -> dict[str, pa.Table]:
    """Make one batch: pages, a document of each, and the vectors of some."""
    rng = random.Random(batch)
    numbers = range(batch * PER_BATCH, batch * PER_BATCH + pages)
    urls = [f"https://host{number % 997}.example/{number}" for number in numbers]
    page_ids, ids = [make_id("page", url) for url in urls], [make_id("document", url) for url in urls]
    words = ["river", "mill", "wheel", "water", "stone", "grain", "sluice", "weir", "race", "pond"]
    texts = [" ".join(rng.choices(words, k=40)) + f" {number}" for number in numbers]
    times = pa.array([FETCHED + timedelta(seconds=number) for number in numbers], pa.timestamp("us", "UTC"))
    some = ids[::EACH_VECTOR]
    vectors = np.random.default_rng(batch).standard_normal((len(some), DIMENSION), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    features = {"document_id": pa.array(some), "vector": pa.array(list(vectors), pa.list_(pa.float32()))}
    same = {name: pa.array([value] * len(some)) for name, value in (("model", "synthetic"), ("revision", "1"))}
    common = {"url": pa.array(urls), "fetched_at": times, "page_id": pa.array(page_ids)}
    status_codes = pa.array([200] * pages, schema.TABLES["pages"].field("status").type)
    return {
        "pages": pa.table({**common, "status": status_codes}),
        "documents": pa.table({**common, "document_id": pa.array(ids), "text": pa.array(texts)}),
        "text_features": pa.table({**features, **same}),
    }


def build(root: Path, rows: int) -> tuple[int, int]:
    """Publish about so many rows; return how many there are, and in how many batches."""
    pages = int(rows / (2 + 1 / EACH_VECTOR))
    with Home.open(CatalogSettings(root=root)) as home:
        batches = [min(PER_BATCH, pages - start) for start in range(0, pages, PER_BATCH)]
        outputs = [
            home.publish_origin(STAGE, f"batch {number}", size, make_tables(number, size), {}).outputs
            for number, size in enumerate(batches)
        ]
    return sum(sum(told.values()) for told in outputs), len(batches)


def timed(ask: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of a call."""
    started, worked = time.perf_counter(), time.process_time()
    ask()
    return time.perf_counter() - started, time.process_time() - worked


def asked(asks: Sequence[Callable[[], object]]) -> dict[str, float]:
    """Return the first and the median of the others."""
    found = [timed(ask) for ask in asks]
    later = found[1:]
    return {
        "first_seconds": found[0][0], "first_cpu_seconds": found[0][1],
        "median_seconds": statistics.median(one for one, _ in later),
        "median_cpu_seconds": statistics.median(cpu for _, cpu in later),
    }  # fmt: skip


def command(root: Path, *words: str) -> dict[str, float]:
    """Run the command three times; return the median seconds and CPU seconds, and the peak memory."""
    runs = []
    told = root.with_name("peak")
    for _ in range(3):
        started = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", COMMAND, *words, "--root", str(root), "--json", str(told)],
                                 stdout=subprocess.DEVNULL)  # fmt: skip
        _, status_code, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status_code)
        assert child.returncode == 0, f"headrace {' '.join(words)} failed"
        facts = dict(line.split(":", 1) for line in told.read_text().splitlines())
        peak = int(facts["VmHWM"].split()[0]) / 1024
        runs.append((time.perf_counter() - started, usage.ru_utime + usage.ru_stime, peak))
    return {
        "seconds": statistics.median(run[0] for run in runs),
        "cpu_seconds": statistics.median(run[1] for run in runs),
        "peak_mib": max(run[2] for run in runs),
    }


def measure(root: Path, rows: int) -> dict[str, Any]:
    """Build a home and ask it everything."""
    started, worked = time.perf_counter(), time.process_time()
    stored, batches = build(root, rows)
    built = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - worked}
    rng = random.Random(7)
    numbers = [rng.randrange(int(rows / (2 + 1 / EACH_VECTOR))) for _ in range(QUESTIONS)]
    urls = [f"https://host{number % 997}.example/{number}" for number in numbers]
    near = [make_id("document", f"https://host{number % 997}.example/{number}")
            for number in (number // EACH_VECTOR * EACH_VECTOR for number in numbers)]  # fmt: skip
    config = Config({"root": str(root)})
    with Home.open(config.catalog) as home:
        indexed = timed(lambda: why(home, urls[0]))
        assert why(home, urls[0])["state"] != "unknown"
        in_process = {
            "why": asked([lambda url=url: why(home, url) for url in urls]),  # type: ignore[misc]
            "status": asked([lambda: status(home, config)] * 6),
            "search": asked([lambda name=name: by_example(home, name, 10) for name in near]),  # type: ignore[misc]
        }
    commands = {"why": command(root, "why", urls[0]), "status": command(root, "status")}
    return {
        "rows": stored, "batches": batches, "build": built, "in_process": in_process, "command": commands,
        "key_index": {"seconds": indexed[0], "cpu_seconds": indexed[1]},
    }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Print what each question costs at both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for name, rows in (("tenth", given.rows // 10), ("whole", given.rows)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(Path(folder) / "home", rows)
    found["peak_ratio"] = {
        name: found["whole"]["command"][name]["peak_mib"] / found["tenth"]["command"][name]["peak_mib"]
        for name in ("why", "status")
    }
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
