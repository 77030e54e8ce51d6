"""Disks that are full, or fail: what was acknowledged can be read, and the next run goes on once there is room.

Each disk is a tmpfs in a mount namespace of this process (util-linux: unshare), so root is not needed where user
namespaces are allowed. Failing writes (EIO) are injected by strace.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from catalog import doctor, maintain
from catalog.errors import HeadraceError
from catalog.home import Home
from catalog.proving import MeansMissing, drivers, toychain
from catalog.proving.agreement import check_agreement, live_rows
from catalog.settings import MaintenanceSettings

ORIGINS = 3
SEED = 20260103
REFUSED = 3  # exit code of a driver that named what is wrong
AT_ONCE = MaintenanceSettings(grace_hours=0, retention_hours=0, min_files=2)
TMPFS_MIB = 64
CALLS = ("fsync", "fdatasync", "pwrite64")  # what files and SQLite write with


def fill(root: Path, acknowledged: Path, said: Path) -> None:
    """Be a driver that notes each batch as it is told that it stands, until the disk refuses."""
    toychain.install()
    try:
        with Home.open(toychain.make_config(root).catalog) as home:
            for origin in range(ORIGINS):
                toychain.run_crawl_of(home, origin)
                _note(acknowledged, home)
                for run in (toychain.run_extract, toychain.run_embed, toychain.run_fuse):
                    run(home, toychain.make_config(root))
                    _note(acknowledged, home)
    except (HeadraceError, OSError) as error:  # what the command line shows as one line
        said.write_text(f"{type(error).__name__}: {error}")
        raise SystemExit(REFUSED) from None


def _note(acknowledged: Path, home: Home) -> None:
    with acknowledged.open("a") as file:
        file.write("".join(f"{batch}\n" for batch in home.view().state.published))


def read(root: Path, acknowledged: Sequence[str]) -> None:
    """Be a reader of a home on a full disk: all that was acknowledged is there, and every live row can be read."""
    toychain.install()
    with Home.open(toychain.make_config(root).catalog) as home:
        missing = set(acknowledged) - home.view().state.published.keys()
        assert not missing, f"acknowledged, and not there: {sorted(missing)}"
        live_rows(home)


def recover(root: Path, reference: Path) -> None:
    """Be the next run, with room: everything is done, and nothing of what failed stays after maintenance."""
    toychain.install()
    with closing(toychain.drive(root, range(ORIGINS))) as home:
        with Home.open(toychain.make_config(reference).catalog) as other:
            assert live_rows(home) == live_rows(other)
        check_agreement(home)
        for _ in range(2):  # what a table's older version reaches goes with the next
            maintain.maintain(home, AT_ONCE)
        published = home.view().state.published.keys()
        folders = (path for path in (root / "warehouse" / "data").glob("*/*") if path.is_dir())
        left = [path for path in folders if path.name not in (*published, "compacted") and any(path.iterdir())]
        assert not [*left, *root.rglob(".*.tmp")], f"orphans: {left}"
        assert not (wrong := [item for item in doctor.look_over(home) if not item.ok]), wrong


def sweep(folder: Path, count: int) -> tuple[int, list[str]]:
    """Let the disk be full at `count` sizes; return how many drivers it stopped, and what was wrong."""
    reference, disk = folder / "reference", folder / "disk"
    assert drivers.run(drivers.drive, reference, range(ORIGINS)) == 0
    need = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    stopped, wrong = 0, []
    for number in range(count):
        size = (need * (number + 1) // count) // 4096 * 4096
        disk.mkdir()
        _mount(disk, f"size={size}")
        try:
            refused, found = _trial(folder, disk / "home", lambda: _mount(disk, f"remount,size={TMPFS_MIB}m"))
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
            disk.rmdir()
        stopped += refused
        wrong += [f"disk of {size} bytes: {said}" for said in found]
    return stopped, wrong


def _mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "headrace", str(place)], check=True, capture_output=True)


def inject(folder: Path, count: int) -> tuple[int, list[str]]:
    """Let one system call fail with EIO, `count` times; return how many drivers that stopped, and what was wrong."""
    strace = shutil.which("strace")
    if strace is None:
        raise MeansMissing("strace is not installed; on Debian and Ubuntu: apt install strace")
    rng = random.Random(SEED)  # noqa: S311 — reproducible, keeps no secret
    stopped, wrong = 0, []
    for number in range(count):
        call = CALLS[number % len(CALLS)]
        which = rng.randint(1, 120)
        root = folder / f"eio-{number}"
        fault = f"inject={call}:error=EIO:when={which}"
        command = [strace, "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", fault]
        command += [sys.executable, "-m", __name__, "fill", str(root)]
        refused, found = _trial(folder, root, lambda: None, command)
        stopped += refused
        wrong += [f"EIO at {call} {which}: {said}" for said in found]
        shutil.rmtree(root, ignore_errors=True)
    return stopped, wrong


def _trial(
    folder: Path, root: Path, make_room: Callable[[], None], command: Sequence[str] = ()
) -> tuple[bool, list[str]]:
    acknowledged, said = folder / "acknowledged", folder / "said"
    acknowledged.write_text("")
    said.unlink(missing_ok=True)
    if command:
        code = subprocess.run([*command, str(acknowledged), str(said)], check=False, capture_output=True).returncode
    else:
        code = drivers.run(fill, root, acknowledged, said)
    wrong = [] if code in (0, REFUSED) else [f"the driver ended with exit code {code} instead of one line"]
    known = sorted(set(acknowledged.read_text().split()))
    if known and (why := drivers.complaint(read, root, known)):
        wrong.append(f"what was acknowledged cannot be read: {why}")
    make_room()
    if why := drivers.complaint(recover, root, folder / "reference"):
        wrong.append(f"the next run does not recover: {why}")
    return code != 0, wrong


def measure(folder: Path, sizes: int, failures: int) -> tuple[int, int, list[str]]:
    """Run both sweeps; return the number of trials, of drivers that were stopped, and what was wrong.

    Raise MeansMissing where neither root nor a user namespace lets us mount.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise MeansMissing("unshare is not installed; on Debian and Ubuntu: apt install util-linux")
    namespace = [unshare, "--mount"] if os.geteuid() == 0 else [unshare, "--user", "--map-root-user", "--mount"]
    if said := _refusal([*namespace, "mount", "-t", "tmpfs", "headrace", str(folder)]):
        raise MeansMissing(f"no tmpfs can be mounted here: {said}; run as root, or where user namespaces are allowed")
    command = [*namespace, sys.executable, "-m", __name__, "sweep", str(folder), str(sizes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, *wrong = done.stdout.splitlines()
    stopped, more = inject(folder, failures)
    return sizes + failures, int(first) + stopped, [*wrong, *more]


def _refusal(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


def main(arguments: Sequence[str]) -> None:
    """Be the process in a mount namespace of its own, or the driver under strace."""
    if arguments[0] == "fill":
        fill(*map(Path, arguments[1:]))
    else:
        stopped, wrong = sweep(Path(arguments[1]), int(arguments[2]))
        sys.stdout.write("\n".join([str(stopped), *wrong]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
