"""Power loss: every system call of a driver is recorded by strace, replayed, and cut off at any point.

What was not synced is lost there: bytes since a file's last fsync, and names since their folder's. No file system
loses more (POSIX promises no less), so a home that survives this survives any of them. The way is that of Pillai et
al., All File Systems Are Not Created Equal, OSDI 2014.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from catalog import ids, maintain
from catalog.home import Home
from catalog.ledger import ORIGIN
from catalog.proving import MeansMissing, drivers, toychain
from catalog.proving.agreement import canonical, check_agreement, live_rows
from catalog.proving.model import live_batches, toy_rows
from catalog.schema import TABLES
from catalog.settings import MaintenanceSettings

CALLS = (
    "open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,dup,dup2,dup3,"
    "fsync,fdatasync,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,"
    "copy_file_range,sendfile"
)
LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>, )?"((?:\\x[0-9a-f]{2})*)"')
ORIGINS = 3
SEED = 20260102
MODES = ("nothing unsynced stays", "names stay, bytes do not")


@dataclass
class Node:
    """A file or folder as processes see it, and as the disk has it."""

    is_folder: bool
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    entries: dict[str, "Node"] = field(default_factory=dict)
    synced_entries: dict[str, "Node"] = field(default_factory=dict)

    def sync(self) -> None:
        """Do what fsync promises."""
        if self.is_folder:
            self.synced_entries = dict(self.entries)
        else:
            self.synced = bytes(self.data)

    def write_out(self, place: Path, names_stay: bool) -> None:
        """Make what a power loss leaves of a folder."""
        place.mkdir()
        for name, node in (self.entries if names_stay else self.synced_entries).items():
            if node.is_folder:
                node.write_out(place / name, names_stay)
            else:
                (place / name).write_bytes(node.synced)


@dataclass
class Replay:
    """Follows the system calls of one process in the folder `place`; others are not looked at."""

    place: Path
    tree: Node = field(default_factory=lambda: Node(True))
    files: dict[str, tuple[Node, list[int]]] = field(default_factory=dict)  # by descriptor: file and position

    def follow(self, call: str, text: str, result: int) -> bool:
        """Do one call; tell whether it may change what a power loss leaves."""
        if call in ("open", "openat", "creat"):
            return self._open(_paths(text)[0], text, str(result))
        descriptor = text.partition("<")[0]
        if call == "close":
            self.files.pop(descriptor, None)
            return False
        if call in ("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat") or call.startswith(("rename", "link")):
            return self._name(call.removesuffix("at2").removesuffix("at"), _paths(text))
        if descriptor not in self.files:
            return False
        node, position = self.files[descriptor]
        if call in ("fsync", "fdatasync"):
            node.sync()
        elif call == "write":
            position[0] = _put(node, _data(text), position[0])
        elif call == "pwrite64":
            _put(node, _data(text), int(text.rsplit(", ", 1)[1]))
        elif call == "lseek":
            position[0] = result
        elif call == "ftruncate":
            length = int(text.rsplit(", ", 1)[1])
            node.data[length:] = b"\0" * max(0, length - len(node.data))
        else:
            raise AssertionError(f"a driver called {call}, which the replay does not know")
        return call != "lseek"

    def _inside(self, path: str) -> tuple[Node, str] | None:
        """Return the folder and the name of a path in the place; None elsewhere."""
        if not path.startswith(f"{self.place}/"):
            return None
        *folders, name = Path(path).relative_to(self.place).parts
        node = self.tree
        for folder in folders:
            node = node.entries[folder]
        return node, name

    def _open(self, path: str, text: str, descriptor: str) -> bool:
        self.files.pop(descriptor, None)
        if path == str(self.place):
            self.files[descriptor] = (self.tree, [0])
            return False
        if not (found := self._inside(path)):
            return False
        folder, name = found
        changed = name not in folder.entries or "O_TRUNC" in text
        node = folder.entries.setdefault(name, Node(False))
        if "O_TRUNC" in text:
            node.data.clear()
        self.files[descriptor] = (node, [len(node.data) if "O_APPEND" in text else 0])
        return changed

    def _name(self, call: str, paths: list[str]) -> bool:
        found = [place for path in paths if (place := self._inside(path))]
        if not found:
            return False
        folder, name = found[0]
        if call == "mkdir":
            folder.entries[name] = Node(True)
        elif call in ("rename", "link"):
            target, new = found[1]
            target.entries[new] = folder.entries[name]
        if call in ("rename", "unlink", "rmdir"):
            del folder.entries[name]
        return True


def _paths(text: str) -> list[str]:
    """Return the paths that a call names, whole where they are told from a folder's descriptor."""
    found = [(os.fsdecode(_bytes(base)), os.fsdecode(_bytes(path))) for base, path in PATH.findall(text)]
    return [path if path.startswith("/") else f"{base}/{path}" for base, path in found]


def _data(text: str) -> bytes:
    found = STRING.search(text)
    assert found, f"a write without its bytes: {text[:80]}"
    return _bytes(found[1])


def _bytes(written: str) -> bytes:
    return bytes.fromhex(written.replace("\\x", ""))


def _put(node: Node, data: bytes, position: int) -> int:
    """Write into a file; return where the next write goes."""
    if len(node.data) < position:
        node.data.extend(b"\0" * (position - len(node.data)))
    node.data[position : position + len(data)] = data
    return position + len(data)


def calls(log: Path) -> Iterator[tuple[str, str, int]]:
    """Read strace's log: (call, arguments, result) of each that succeeded, in the order of their ends."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            process, _, rest = line.rstrip("\n").partition(" ")
            if rest.endswith("<unfinished ...>"):
                begun[process] = rest.removesuffix("<unfinished ...>").rstrip()
                continue
            if "resumed>" in rest:
                rest = begun.pop(process) + rest.partition("resumed>")[2]
            found = LINE.match(f"{process} {rest.strip()}")
            if found and found[4] not in ("?",) and int(found[4]) >= 0:
                yield found[2], found[3], int(found[4])


def record(root: Path, trace: Path, log: Path) -> None:
    """Run a driver under strace; raise MeansMissing where there is no strace or it may not trace."""
    strace = shutil.which("strace")
    if strace is None:
        raise MeansMissing("strace is not installed; on Debian and Ubuntu: apt install strace")
    command = [strace, "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    command += [sys.executable, "-m", __name__, str(root), str(trace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeansMissing(f"strace cannot trace here: {done.stderr.strip()[-300:]}; run it where ptrace is allowed")


def work(root: Path, trace: Path) -> None:
    """Be the driver whose machine fails: publish, maintain, publish more."""
    drivers.arm("", trace)
    toychain.install()
    with closing(toychain.drive(root, range(ORIGINS - 1))) as home:
        maintain.maintain(home, MaintenanceSettings(min_files=2))
    toychain.drive(root, range(ORIGINS)).close()


def measure(folder: Path, count: int) -> tuple[int, list[str]]:
    """Cut the power at `count` points of a driver's life; return the number of states looked at and what was wrong."""
    root, trace, log = folder / "home", folder / "trace", folder / "strace.log"
    root.mkdir(parents=True)
    record(root, trace, log)
    shutil.rmtree(root)
    total = sum(1 for _ in _points(root, trace, log))
    rng = random.Random(SEED)  # noqa: S311 — reproducible, keeps no secret
    chosen = set(rng.sample(range(total), min(count, total)))
    wrong = []
    for number, (replay, acknowledged, marks) in enumerate(_points(root, trace, log)):
        for mode in MODES if number in chosen else ():
            replay.tree.write_out(root, mode is MODES[1])
            if why := drivers.complaint(_check, root, acknowledged):
                wrong.append(f"power lost at change {number} of {total} (after {marks[-1:]}, {mode}): {why}")
            shutil.rmtree(root)
    return 2 * len(chosen), wrong


def _points(root: Path, trace: Path, log: Path) -> Iterator[tuple[Replay, int, list[str]]]:
    """Yield every state that may be left on the disk, how many ledger rows were acknowledged, and what was passed."""
    replay = Replay(root)
    marks: list[str] = []
    acknowledged = 0
    for call, text, result in calls(log):
        if call == "write" and _hex(trace) in text.partition(",")[0]:
            marks.append(_data(text).decode().strip())
            acknowledged += marks[-1] == "after-ledger"
        elif replay.follow(call, text, result):
            yield replay, acknowledged, marks


def _hex(path: Path) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(path))


def _check(root: Path, acknowledged: int) -> None:
    """Look at what a power loss left, then go on."""
    toychain.install()
    origins = {ids.batch_id("crawl", ORIGIN, [f"segment-{number}"]): number for number in range(ORIGINS)}
    with Home.open(toychain.make_config(root).catalog) as home:
        state = home.view().state
        assert state.last_seq >= acknowledged, f"{acknowledged} rows were acknowledged, {state.last_seq} are there"
        live = live_batches(state.rows)
        expected = toy_rows([row for row in state.rows if row.batch_id in live], origins)
        for table, rows in expected.items():
            assert canonical(home.view().read(table)) == canonical(rows), f"rows of {table}"
    with closing(toychain.drive(root, range(ORIGINS))) as home:
        check_agreement(home)
        everything = toy_rows(home.view().state.live.values(), origins)
        for table in ("pages", "documents", "text_features"):
            assert canonical(home.view().read(table)) == canonical(everything[table]), f"rows of {table} after resuming"
        assert len(home.view().live("extract")) == ORIGINS
        assert set(live_rows(home)) <= set(TABLES)


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]))
