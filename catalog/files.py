"""Durable files on any fsspec path: written aside, synced, then linked; an existing file is never replaced.

What pyiceberg writes locally has names of its own choice, so its SHA-256 stands beside it, as `sha256sum -c` reads it,
and is checked whenever table metadata is read. Object stores check what they hold themselves.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from catalog.errors import Corrupt

DIGEST = ".sha256"  # the suffix of the file that holds another one's SHA-256
RECORDED = re.compile(r"([0-9a-f]{64})  (.+)\n")


def is_local(url: str) -> bool:
    """Tell whether a warehouse path is on a local file system."""
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    """Return the local path of a plain path or file:// URL."""
    return Path(url.removeprefix("file://"))


def join(url: str, *parts: str) -> str:
    """Join path parts below a plain path or URL with single slashes."""
    return "/".join([url.rstrip("/"), *(part.strip("/") for part in parts)])


def open_fs(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path in it."""
    from fsspec.core import url_to_fs  # local files are mostly read without it

    fs, path = url_to_fs(url)
    return fs, path


def open_read(url: str) -> Any:
    """Open a file for reading its bytes."""
    if is_local(url):
        return local_path(url).open("rb")
    fs, path = open_fs(url)
    return fs.open(path, "rb")


def fsync_folder(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folders(folder: Path) -> None:
    """Create a folder and its parents, each entry durable."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def write_new(url: str, data: bytes) -> bool:
    """Write `data` so that the file appears whole or not at all; return False if it already exists (it is kept)."""
    if not is_local(url):
        fs, path = open_fs(url)
        if fs.exists(path):
            return False
        fs.pipe_file(path, data)
        return True
    target = local_path(url)
    with _written_aside(target, data) as aside:
        try:
            os.link(aside, target)
        except FileExistsError:
            return False
    fsync_folder(target.parent)
    return True


def remove(url: str) -> None:
    """Delete a file, if it is there."""
    if is_local(url):
        local_path(url).unlink(missing_ok=True)
        return
    fs, path = open_fs(url)
    if fs.exists(path):
        fs.rm_file(path)


def replace(url: str, data: bytes) -> None:
    """Write a local file that may be replaced (a manifest): readers see the old bytes or the new, never a mixture."""
    target = local_path(url)
    with _written_aside(target, data) as aside:
        aside.replace(target)
    fsync_folder(target.parent)


@contextmanager
def _written_aside(target: Path, data: bytes) -> Iterator[Path]:
    """Yield a synced file with a temporary name beside the target; it is gone afterwards."""
    make_folders(target.parent)
    aside = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def list_names(url: str) -> list[str]:
    """Return the sorted names of the finished files in a folder; an absent folder is empty."""
    if is_local(url):
        folder = local_path(url)
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    else:
        fs, path = open_fs(url)
        names = [item.rsplit("/", 1)[-1] for item in (fs.ls(path, detail=False) if fs.exists(path) else [])]
    return sorted(name for name in names if not name.startswith("."))


def digest_path(path: Path) -> Path:
    """Name the file that holds the SHA-256 of a file that pyiceberg wrote."""
    return path.with_name(path.name + DIGEST)


def recorded_digest(path: Path) -> str | None:
    """Return the SHA-256 that was noted when pyiceberg wrote a file; None if there is no note, or half of one."""
    try:
        found = RECORDED.fullmatch(digest_path(path).read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return None
    return found[1] if found and found[2] == path.name else None


def note_digest(url: str) -> None:
    """Note the SHA-256 of a file that was changed in place, beside it."""
    fs, path = open_fs(url)
    with fs.open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note = f"{digest}  {url.rpartition('/')[2]}\n".encode()
    if is_local(url):
        replace(url + DIGEST, note)
    else:
        fs.pipe_file(path + DIGEST, note)


def noted_digest(url: str) -> str | None:
    """Return the SHA-256 that `note_digest` noted of a file; None if there is no note."""
    if is_local(url):
        return recorded_digest(local_path(url))
    fs, path = open_fs(url)
    found = RECORDED.fullmatch(fs.cat_file(path + DIGEST).decode()) if fs.exists(path + DIGEST) else None
    return found[1] if found else None


def read_metadata(path: Path) -> bytes:
    """Read a small file that pyiceberg wrote; raise Corrupt unless it still has the SHA-256 noted then."""
    data = path.read_bytes()
    if recorded_digest(path) not in (None, hashlib.sha256(data).hexdigest()):
        raise Corrupt(f"{path} is damaged: it does not match its SHA-256; run headrace doctor --repair")
    return data


@dataclass(frozen=True)
class Found:
    """One file in a warehouse."""

    url: str
    size: int
    modified: float


def listing(url: str) -> list[Found]:
    """List the files below a folder, hidden ones excepted; an absent folder is empty."""
    fs, path = open_fs(url)
    if not fs.exists(path):
        return []
    found = fs.find(path, detail=True)
    base = url.rstrip("/")
    return [
        Found(f"{base}/{name[len(path.rstrip('/')) + 1 :]}", int(info["size"]), _modified(info))
        for name, info in sorted(found.items())
        if not name.rsplit("/", 1)[-1].startswith(".")
    ]


def _modified(info: Mapping[str, Any]) -> float:
    """Return when a file was written: local file systems say `mtime`, object stores `LastModified`."""
    value = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or info.get("updated")
    if isinstance(value, datetime):
        return value.timestamp()
    assert isinstance(value, int | float), f"the file system tells no time of {info.get('name')}"
    return float(value)
