"""Ray: worker processes and drivers that die do not keep a run from its end, and little is done twice."""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from unittest import mock

import pyarrow as pa

from catalog import flow, schema
from catalog.home import Home, Input, Plan
from catalog.proving import drivers, toychain
from catalog.settings import Resources

BATCHES, PARTS, PART_ROWS = 10, 20, 5
ROWS = PARTS * PART_ROWS
SECONDS = 900.0  # for one run, on a slow machine
MOST_WORK = 1.2  # times the parts that there are
RESOURCES = Resources(cpus=0.5, workers=2, stall_seconds=600)


def pages(batch: int) -> pa.Table:
    """Make the pages of one batch."""
    rows = [{"page_id": f"{batch:02d}-{number:04d}", "url": f"http://d/{batch}/{number}"} for number in range(ROWS)]
    return pa.Table.from_pylist(rows, schema=schema.body("pages"))


class Mortal:
    """Notes each part that it begins, and dies of some records, of each once."""

    def __init__(self, trace: Path, markers: Path, doomed: frozenset[str]) -> None:
        self._trace, self._markers, self._doomed = trace, markers, doomed

    def __call__(self, part: pa.Table) -> Mapping[str, pa.Table]:
        ids = part["page_id"].to_pylist()
        with self._trace.open("a") as trace:
            trace.write(f"{ids[0]}\n")
        time.sleep(0.05)
        for name in self._doomed.intersection(ids):
            if not (self._markers / name).exists():
                (self._markers / name).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        rows = [{"document_id": f"d{name}", "page_id": name, "text": f"text of {name}"} for name in ids]
        return {"documents": pa.Table.from_pylist(rows, schema=schema.body("documents"))}


def drive(folder: Path, doomed: frozenset[str]) -> None:
    """Be a driver on Ray; what Ray says of the deaths goes to a file."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    toychain.install()
    config = toychain.make_config(folder / "home", engine="ray")
    with Home.open(config.catalog) as home:
        for batch in range(BATCHES):
            home.publish_origin(toychain.CRAWL, f"deaths-{batch}", ROWS, {"pages": pages(batch)}, {})
        view = home.view()
        plans = [
            Plan((Input(batch, ROWS),), view.read("pages", batches=[batch.batch_id]), "page_id", PART_ROWS)
            for batch in home.todo(toychain.EXTRACT, config)
        ]
        make = partial(Mortal, folder / "trace", folder / "markers", doomed)
        home.publish(toychain.EXTRACT, config, plans, make, RESOURCES)
    flow.stop_ray()


def measure(folder: Path, workers: int, drivers_: int) -> tuple[float, list[str]]:
    """Let workers die in one run and drivers in another; return the work done by what was to do, and what was wrong."""
    wrong, ratios = [], []
    for name, deaths in (("workers", workers), ("drivers", drivers_)):
        place = folder / name
        (place / "markers").mkdir(parents=True)
        (place / "trace").touch()
        mortal, drivers_die = (deaths, 0) if name == "workers" else (0, deaths)
        doomed = frozenset(f"{number % BATCHES:02d}-{7 + number:04d}" for number in range(mortal))
        for death in range(drivers_die):
            _kill_when(place, (death + 1) * BATCHES * PARTS // (deaths + 1))
        code = drivers.finish(drivers.start(drive, place, doomed), SECONDS)
        wrong += [f"{name}: the last driver ended with exit code {code}"] if code else []
        wrong += [f"{name}: {problem}" for problem in _problems(place)]
        died = len(list((place / "markers").iterdir()))
        wrong += [f"{died} workers died, not {mortal}"] if died != mortal else []
        ratios.append(len(_begun(place)) / (BATCHES * PARTS))
    return max(ratios), wrong


def _begun(place: Path) -> list[str]:
    return (place / "trace").read_text().split()


def _kill_when(place: Path, parts: int) -> None:
    """Start a driver and kill it when so many different parts have been begun, by it or by others before."""
    process = drivers.start(drive, place, frozenset())
    end = time.monotonic() + SECONDS
    while len(set(_begun(place))) < parts and process.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    code = drivers.finish(process)
    assert code == drivers.KILLED, f"a driver failed by itself (exit code {code})"


def _problems(place: Path) -> list[str]:
    """Say what is wrong with the rows of a home that should be whole."""
    with (
        mock.patch("catalog.pipeline.stages", lambda: toychain.STAGES),
        Home.open(toychain.make_config(place / "home").catalog) as home,
    ):
        found = Counter(home.view().read("documents", ["page_id"])["page_id"].to_pylist())
    wanted = Counter(name for batch in range(BATCHES) for name in pages(batch)["page_id"].to_pylist())
    lost, doubled = (wanted - found).total(), (found - wanted).total()
    return [f"{lost} rows lost, {doubled} doubled"] if lost or doubled else []
