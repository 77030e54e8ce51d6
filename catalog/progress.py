"""Progress of long work: a rich bar on a terminal, plain log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("headrace")
LOG_EVERY_SECONDS = 10.0


class Bar:
    """Counts what is done; `total` is None while unknown."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self.total = total
        self.done = 0
        self._started = self._logged = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count more rows as done."""
        self.done += count
        if time.monotonic() - self._logged >= LOG_EVERY_SECONDS:
            self._logged = time.monotonic()
            log.info("%s", self.line())

    def note(self, text: str) -> None:
        """Say something worth reading once."""
        log.info("%s: %s", self._what, text)

    def line(self) -> str:
        """Describe the state: counts, rate and time left."""
        seconds = max(time.monotonic() - self._started, 1e-6)
        rate = self.done / seconds
        of = f"/{self.total}" if self.total is not None else ""
        left = f", {max(self.total - self.done, 0) / rate:.0f} s left" if self.total and rate > 0 else ""
        return f"{self._what}: {self.done}{of} ({rate:.1f}/s{left})"


class _RichBar(Bar):
    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        super().__init__(what, total)
        self._rich = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._rich.start()
        self._task = self._rich.add_task(what, total=total, rate="")

    def advance(self, count: int = 1) -> None:
        self.done += count
        rate = self.done / max(time.monotonic() - self._started, 1e-6)
        self._rich.update(self._task, completed=self.done, total=self.total, rate=f"{rate:.1f}/s")

    def note(self, text: str) -> None:
        self._rich.console.print(f"{self._what}: {text}", markup=False, highlight=False)

    def stop(self) -> None:
        self._rich.stop()


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Bar]:
    """Show the progress of one piece of work on standard error."""
    if not sys.stderr.isatty():
        yield Bar(what, total)
        return
    rich_bar = _RichBar(what, total)
    try:
        yield rich_bar
    finally:
        rich_bar.stop()
