"""Ask homes of a tenth of a million and of a million rows what people ask, and look for what grows with the corpus.

`python -m benchmarks.scale [--rows N] [--batches N] [--json]`. The homes are published through the catalog in large
batches (pages, documents, vectors, examples), which is timed too. Questions are asked in process, where the first `why`
builds the key index, and as commands, whose peak memory is told. A small batch is published by turns into the large
home and into an empty one. Last comes a home of many batches that every stage has consumed, where `run` has nothing to
do. Seconds of the processor stand beside those of the clock.
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
from pathlib import Path
from typing import Any

from benchmarks.scale_home import EACH, ROWS_A_PAGE, build, consume, publish, url_of
from catalog import pipeline, sql
from catalog.home import Home, pending
from catalog.ids import make_id
from catalog.search import by_example
from catalog.settings import CatalogSettings, Config
from catalog.status import status
from catalog.why import why

QUESTIONS = 21
PUBLISHED = 6  # small batches into each home
SMALL = 500  # pages in one of them
STAGES = ["crawl", "extract", "embed", "annotate", "dedup", "fuse"]
# The peak that the system tells of a child that has ended counts its parent's memory at the fork.
COMMAND = """
import atexit, sys
from pathlib import Path
from catalog import cli
peak = Path(sys.argv.pop())
atexit.register(lambda: peak.write_text(Path("/proc/self/status").read_text()))
cli.main()
"""


def timed(ask: Callable[[], object]) -> dict[str, float]:
    """Return the seconds and the CPU seconds of a call."""
    started, worked = time.perf_counter(), time.process_time()
    ask()
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - worked}


def asked(asks: Sequence[Callable[[], object]]) -> dict[str, float]:
    """Return the first and the median of the others."""
    found = [timed(ask) for ask in asks]
    later = {f"median_{name}": statistics.median(one[name] for one in found[1:]) for name in found[0]}
    return {f"first_{name}": value for name, value in found[0].items()} | later


def command(root: Path, *words: str, times: int = 3) -> dict[str, float]:
    """Run a command some times; return the median seconds and CPU seconds, and the peak memory."""
    runs = []
    told = root.with_name("peak")
    for _ in range(times):
        started = time.perf_counter()
        child = subprocess.Popen([sys.executable, "-c", COMMAND, *words, "--root", str(root), "--json", str(told)],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
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


def ask_all(root: Path, numbers: Sequence[int]) -> dict[str, Any]:
    """Ask everything in one process; the key index is built with the first answer."""
    urls = [url_of(number) for number in numbers]
    near = [make_id("document", url_of(number // EACH * EACH)) for number in numbers]
    config = Config({"root": str(root)})
    counted = "SELECT count(*) AS pages FROM pages WHERE status = 200"
    with Home.open(config.catalog) as home:
        indexed = timed(lambda: why(home, urls[0]))
        assert why(home, urls[0])["state"] != "unknown"
        return {
            "key_index": indexed,
            "why": asked([lambda url=url: why(home, url) for url in urls]),  # type: ignore[misc]
            "status": asked([lambda: status(home, config)] * 6),
            "search": asked([lambda name=name: by_example(home, name, 10) for name in near]),  # type: ignore[misc]
            "sql_count": asked([lambda: sql.query(home, counted)] * 6),
            "plan": asked([lambda: plan(config)] * 6),
        }


def plan(config: Config) -> int:
    """Open the home anew, and ask what each stage has to do."""
    with Home.open(config.catalog) as home:
        state = home.view().state
        return sum(len(pending(state, stage, config)) for stage in pipeline.enabled(config) if stage.reads)


def publish_small(root: Path, empty: Path) -> dict[str, Any]:
    """Publish small batches by turns into a large home and into one that began empty."""
    with Home.open(CatalogSettings(root=root)) as large, Home.open(CatalogSettings(root=empty)) as small:
        numbers = [range(10**9 + k * SMALL, 10**9 + (k + 1) * SMALL) for k in range(PUBLISHED)]
        found = [(timed(lambda k=k: publish(large, k)), timed(lambda k=k: publish(small, k))) for k in numbers]  # type: ignore[misc]
    into = {
        name: {kind: statistics.median(pair[at][kind] for pair in found[1:]) for kind in found[0][at]}
        for at, name in enumerate(("large", "empty"))
    }
    return {**into, "cpu_ratio": into["large"]["cpu_seconds"] / into["empty"]["cpu_seconds"]}


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Build a home and ask it everything."""
    root = folder / "home"
    counted: list[int] = []
    built = timed(lambda: counted.extend(build(root, rows)))
    rng = random.Random(7)
    numbers = [rng.randrange(int(rows / ROWS_A_PAGE)) for _ in range(QUESTIONS)]
    in_process = ask_all(root, numbers)
    url = url_of(numbers[0])
    commands = {
        "why": command(root, "why", url),
        "status": command(root, "status"),
        "search": command(root, "search", "--like", make_id("document", url_of(numbers[0] // EACH * EACH))),
        "sql": command(root, "sql", "SELECT count(*) AS n FROM documents"),
        "snapshots": command(root, "snapshots", "list"),
        "export": command(root, "export", "--output", str(folder / "exported"), times=1),
        "doctor": command(root, "doctor", times=1),
    }
    published = publish_small(root, folder / "empty")
    commands["maintain"] = command(root, "maintain", times=1)
    return {
        "rows": counted[0], "batches": counted[1], "build": built, "in_process": in_process, "publish": published,
        "command": commands,
    }  # fmt: skip


def nothing_new(folder: Path, batches: int) -> dict[str, Any]:
    """Run a home whose batches every stage has consumed."""
    given = {"stages": STAGES, "models": "offline"}
    built = timed(lambda: consume(folder / "home", batches, given))
    file = folder / "config.json"
    file.write_text(json.dumps(given))
    found = {name: command(folder / "home", *words) for name, words in
             (("run", ("run", str(file))), ("status", ("status",)))}  # fmt: skip
    with Home.open(CatalogSettings(root=folder / "home")) as home:
        return {"ledger_rows": home.view().seq, "build": built, **found}


def main(arguments: Sequence[str]) -> None:
    """Print what each question costs at both sizes, and what grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batches", type=int, default=300, help="in the home where nothing is new")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for name, rows in (("tenth", given.rows // 10), ("whole", given.rows)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(Path(folder), rows)
    tenth, whole = found["tenth"]["command"], found["whole"]["command"]
    for figure in ("peak_mib", "cpu_seconds"):
        found[f"{figure}_ratio"] = {name: whole[name][figure] / tenth[name][figure] for name in whole}
    with tempfile.TemporaryDirectory() as folder:
        found["nothing_new"] = nothing_new(Path(folder), given.batches)
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
