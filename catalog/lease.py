"""Leases: which unpublished batches a living driver of this home works on, so that no collector takes their shards.

A lease is a file that names batches and that its process keeps locked; the lock ends with the process, however that
ends. The collector takes the gate alone while it deletes; a driver passes through the gate before it looks for shards.
On other machines' drivers (a shared warehouse) there is no such sight: there the grace period alone protects.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

FOLDER = "leases"
GATE = ".gate"


class Lease:
    """The batches of one driver; released when closed, or when the process dies."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._file: IO[str] | None = None
        self._held: set[str] = set()

    def hold(self, batch_id: str) -> None:
        """Protect a batch's shards from now on; wait while a collector is deleting."""
        if batch_id in self._held:
            return
        with _gate(self._folder, fcntl.LOCK_SH):
            if self._file is None:
                self._file = (self._folder / f"{os.getpid()}-{secrets.token_hex(4)}").open("x")
                fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.write(f"{batch_id}\n")
            self._file.flush()
        self._held.add(batch_id)

    @contextmanager
    def alone_with(self, batch_id: str) -> Iterator[bool]:
        """Keep others from taking new leases meanwhile; yield whether no other driver works on the batch."""
        own = Path(self._file.name) if self._file is not None else None
        with _gate(self._folder, fcntl.LOCK_EX):
            others = [path for path in sorted(self._folder.iterdir()) if path.name != GATE and path != own]
            yield not any(batch_id in _living(path) for path in others)

    def close(self) -> None:
        """Give every batch free."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None
            self._held.clear()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def collecting(root: Path) -> Iterator[frozenset[str]]:
    """Keep drivers from taking new leases meanwhile; yield the batches that are leased."""
    folder = root / FOLDER
    with _gate(folder, fcntl.LOCK_EX):
        yield frozenset(batch for path in sorted(folder.iterdir()) if path.name != GATE for batch in _living(path))


def _living(path: Path) -> list[str]:
    """Return what a lease protects; remove it if its process is gone."""
    with suppress(FileNotFoundError), path.open("r+") as file:  # its driver may just have ended
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().split()
        path.unlink(missing_ok=True)
    return []


@contextmanager
def _gate(folder: Path, kind: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / GATE).open("w") as gate:
        fcntl.flock(gate, kind)
        yield
