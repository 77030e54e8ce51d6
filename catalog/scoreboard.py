"""`headrace scoreboard`: twelve figures of reliability, measured here and now, each beside its target.

A file system, a kernel or an installation other than ours may lose what ours keeps: so the drivers are shipped
(catalog/proving), and what needs the source checkout, root or a program says so instead of guessing a value.
"""

import importlib.util
import json
import logging
import platform
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import files, progress
from catalog.errors import HeadraceError, InputError
from catalog.proving import MeansMissing

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Measured:
    """One figure as it was found; `met` is None where it could not be measured, and `value` says why."""

    value: str
    met: bool | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """What one figure is: its number, what is counted, its target, and how it is measured (folder, is it short)."""

    number: int
    what: str
    target: str
    measure: Callable[[Path, bool], Measured]


def _kills(folder: Path, short: bool) -> Measured:
    from catalog.proving import kills

    harm = kills.kill(folder, 40 if short else 200)
    value = f"{harm.lost} lost, {harm.doubled} doubled, {harm.redone} parts done twice in {len(harm.died_at)} kills"
    return Measured(value, not (harm.lost or harm.doubled or harm.redone))


def _races(folder: Path, short: bool) -> Measured:
    from catalog.proving import kills

    count = 4 if short else 50
    harm = kills.race(folder, count)
    value = f"{harm.lost} lost, {harm.doubled} doubled in {count} races of three, {len(harm.died_at)} drivers killed"
    return Measured(value, not (harm.lost or harm.doubled))


def _power(folder: Path, short: bool) -> Measured:
    from catalog.proving import power

    states, wrong = power.measure(folder, 8 if short else 150)
    return _share(states, wrong, "states after a power loss survive, no acknowledged batch lost")


def _deaths(folder: Path, short: bool) -> Measured:
    from catalog.proving import deaths

    workers, drivers = (2, 1) if short else (10, 10)
    ratio, wrong = deaths.measure(folder, workers, drivers)
    value = f"{'in' * bool(wrong)}complete, {ratio:.3f}x work with {workers} workers and {drivers} drivers killed"
    return Measured(value, not wrong and ratio <= deaths.MOST_WORK, tuple(wrong))


def _disk(folder: Path, short: bool) -> Measured:
    from catalog.proving import full_disk

    trials, stopped, wrong = full_disk.measure(folder, *((4, 3) if short else (40, 30)))
    share = _share(trials, wrong, f"trials read what was acknowledged and recover; {stopped} drivers were stopped")
    return share if stopped else Measured("no driver met a full disk", False, tuple(wrong))


def _takedown(folder: Path, short: bool) -> Measured:
    from catalog.proving import takedown

    markers, found, back, problems = takedown.measure(folder)
    value = f"{found} files and {back} resurrections in a search for {markers} markers"
    return Measured(value, not problems, tuple(problems))


def _machine(folder: Path, short: bool) -> Measured:
    if importlib.util.find_spec("hypothesis") is None:
        raise MeansMissing("hypothesis is not installed; pip install hypothesis")
    from catalog.proving import machine

    wanted = 300 if short else 10_000
    try:
        steps = machine.run(wanted)
    except (AssertionError, HeadraceError) as error:
        history = "\n".join([str(error), *getattr(error, "__notes__", ())])
        return Measured(f"a violation within {wanted} steps", False, (history,))
    return Measured(f"0 violations in {steps} steps, recall@10 at least {machine.RECALL:g}", True)


@dataclass(frozen=True)
class Tests:
    """Measures a figure by tests of the checkout; `long` is their environment in the long form."""

    names: tuple[str, ...]
    long: tuple[tuple[str, str], ...] = ()

    def __call__(self, folder: Path, short: bool) -> Measured:
        from catalog.proving import suites

        count, failed, told = suites.measure(folder, self.names, {} if short else dict(self.long))
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
        value = f"{count - len(failed)} of {count} tests pass" + (f": {said}" if said else "")
        return Measured(value, not failed, tuple(failed))


def _web(folder: Path, short: bool) -> Measured:
    return Measured("not built yet: the steward's web app", None)


def _share(count: int, wrong: list[str], what: str) -> Measured:
    good = count - len({problem.partition(":")[0] for problem in wrong})
    return Measured(f"{good} of {count} {what}", not wrong, tuple(wrong))


PLACE = "tests/integration/"
HOSTILE = Tests((PLACE + "test_hostile.py",))
MANNERS = Tests((PLACE + "test_farm.py", "tests/unit/ingest/test_robots.py"), (("HEADRACE_TEST_REQUESTS", "10000"),))
SSRF = Tests((PLACE + "test_ssrf.py",))
MEDIA = Tests((PLACE + "test_hostile_media.py",), (("HEADRACE_TEST_DECODE_SECONDS", "30"),))
FIGURES = (
    Figure(1, "batches lost or doubled after kill -9", "0 / 0", _kills),
    Figure(2, "lost or doubled on rerun, drivers racing", "0 / 0", _races),
    Figure(3, "power-loss survival", "100 %", _power),
    Figure(4, "Ray faults: completion, work redone", "100 %, ≤ 1.2x", _deaths),
    Figure(5, "disk full or failing", "0 false acknowledgements, recovers", _disk),
    Figure(6, "hostile HTTP servers", "all ended in budget, classed", HOSTILE),
    Figure(7, "robots and politeness violations", "0", MANNERS),
    Figure(8, "SSRF canary hits", "0 hits, 0 false blocks", SSRF),
    Figure(9, "hostile media contained", "≤ 512 MB, ≤ 30 s, none lost", MEDIA),
    Figure(10, "takedown completeness", "0 bytes, 0 resurrections", _takedown),
    Figure(11, "tables, indexes and pulls agree", "0 violations, recall@10 ≥ .99", _machine),
    Figure(12, "web app at a million rows", "p95 < 300 ms, 100 % authorised", _web),
)  # fmt: skip


def scoreboard(only: Iterable[int] = (), short: bool = False, output: Path | None = None) -> dict[str, Any]:
    """Measure the figures (all, or `only` these); write each to `output` too, as soon as it is known.

    Raise InputError for a figure that there is not, or under `python -O`.
    """
    if not __debug__:
        raise InputError("python -O removes the assertions that the figures count; run without it")
    wanted = set(only) or {figure.number for figure in FIGURES}
    if unknown := wanted - {figure.number for figure in FIGURES}:
        raise InputError(f"--only {min(unknown)}: there is no such figure; there are 1 to {len(FIGURES)}")
    rows: list[dict[str, Any]] = []
    with progress.bar("scoreboard", len(wanted)) as bar:
        for figure in FIGURES:
            if figure.number in wanted:
                bar.note(figure.what)
                rows.append(_row(figure, short))
                if output is not None:
                    _write(output, _document(rows, short))
                bar.advance(1)
    return _document(rows, short)


def _document(rows: list[dict[str, Any]], short: bool) -> dict[str, Any]:
    return {
        "rows": rows, "short": short, "ok": all(row["met"] is not False for row in rows),
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "version": version("headrace"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}",
    }  # fmt: skip


def _write(output: Path, found: dict[str, Any]) -> None:
    """Put what was found into a file; the other figures that it holds of the same form and system stay."""
    try:
        before = json.loads(output.read_text(encoding="utf-8"))
        same = all(before[name] == found[name] for name in ("short", "version", "system"))
        kept = [row for row in before["rows"] if row["figure"] not in {new["figure"] for new in found["rows"]}]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or another document
        same, kept = False, []
    if same:
        rows = sorted([*kept, *found["rows"]], key=lambda row: int(row["figure"]))
        found = found | {"rows": rows, "ok": all(row["met"] is not False for row in rows)}
    files.replace(str(output.absolute()), (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())


def _row(figure: Figure, short: bool) -> dict[str, Any]:
    started = time.monotonic()
    log = logging.getLogger("headrace")
    level = log.level
    with tempfile.TemporaryDirectory(prefix="headrace-scoreboard-") as folder:
        log.setLevel(logging.WARNING)  # what the driven homes do is told by the figure
        try:
            found = figure.measure(Path(folder), short)
        except MeansMissing as error:
            found = Measured(f"not measured: {error}", None)
        except (AssertionError, HeadraceError) as error:
            found = Measured("failed", False, (str(error) or "an assertion",))
        finally:
            log.setLevel(level)
    seconds = round(time.monotonic() - started, 1)
    told = {"figure": figure.number, "what": figure.what, "target": figure.target, "seconds": seconds}
    told["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    return {**told, **asdict(found), "problems": list(found.problems)}


def render(result: dict[str, Any], console: "Console") -> None:
    """Print one line a figure, and below it what went wrong."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "figure", "found", "target", "", "s", box=None, header_style="bold")
    marks = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "[dim]—[/dim]"}
    for row in result["rows"]:
        found = "\n".join([row["value"], *row["problems"][:5]])
        cells = (str(row["figure"]), escape(row["what"]), escape(found), escape(row["target"]), marks[row["met"]])
        table.add_row(*cells, f"{row['seconds']:.0f}")
    console.print(table)
