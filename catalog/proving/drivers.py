"""Drivers of the toy chain in processes of their own, forked from a server that has imported everything once.

The server (multiprocessing's forkserver) runs no threads and no Ray, so a fork is safe and costs milliseconds, not
the two seconds that importing the hub costs.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyiceberg.io.pyarrow  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401 — what the first commit would import

from catalog import failpoint
from catalog.proving import toychain

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, *(point.module for point in entry_points(group="headrace.keepers"))])
KILLED = -9


def start(target: Callable[..., None], *args: object) -> BaseProcess:
    """Start a module-level function in a forked process."""
    _serve()
    process = CONTEXT.Process(target=target, args=args, daemon=True)
    process.start()
    return process


@cache
def _serve() -> None:
    """Start the server; it looks for what to import on PYTHONPATH only."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    forkserver.ensure_running()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


def finish(process: BaseProcess, timeout: float = 120.0) -> int:
    """Wait for a process and return its exit code, negative for a signal."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"a driver was still running after {timeout:g} s")
    return process.exitcode


def run(target: Callable[..., None], *args: object) -> int:
    """Run a module-level function in a forked process and return its exit code."""
    return finish(start(target, *args))


def complaint(target: Callable[..., None], *args: object) -> str:
    """Run a module-level function in a forked process; return what it raised, or an empty string."""
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        code = run(_tell, said, target, args)
        return said.read_text() if said.is_file() else f"exit code {code}" if code else ""


def _tell(said: Path, target: Callable[..., None], args: tuple[object, ...]) -> None:
    try:
        target(*args)
    except Exception as error:  # noqa: BLE001 — whatever it is, it is what is wrong
        said.write_text(f"{type(error).__name__}: {error}"[:500])


def arm(moment: str, trace: Path | None = None) -> None:
    """Die at a failpoint (`name:n`, `*:n`; empty: never) and note each one passed in `trace`, before dying of it."""
    failpoint._ARMED = moment
    failpoint._passed = 0
    if trace is None:
        return
    reach = failpoint.reach
    handle = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def noted(name: str) -> None:
        os.write(handle, f"{name}\n".encode())
        reach(name)

    failpoint.reach = noted


def drive(root: Path, origins: range, flavour: str = "A", moment: str = "", trace: Path | None = None) -> None:
    """Be one driver: publish the origins, run every stage once."""
    arm(moment, trace)
    toychain.install()
    toychain.drive(root, origins, flavour)
