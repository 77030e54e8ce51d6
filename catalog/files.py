"""Durable files on any fsspec path: written aside, synced, then linked; an existing file is never replaced.

What pyiceberg writes locally has names of its own choice, so its SHA-256 stands beside it, as `sha256sum -c` reads it,
and is checked whenever table metadata is read. Object stores check what they hold themselves.
"""

import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import fsspec
from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

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
    fs, path = fsspec.core.url_to_fs(url)
    return fs, path


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


class _DurableStream:
    """A local file that is synced, with its folder, when closed; its SHA-256 is noted beside it before."""

    def __init__(self, path: Path) -> None:
        make_folders(path.parent)
        self._path = path
        self._digest = hashlib.sha256()
        self._file = path.open("wb")

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if self._file.closed:
            return
        digest_path(self._path).write_text(f"{self._digest.hexdigest()}  {self._path.name}\n", encoding="utf-8")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        fsync_folder(self._path.parent)

    def __enter__(self) -> "_DurableStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _DurableFile:
    """A pyiceberg output file whose stream is durable once closed; everything else is PyArrow's."""

    def __init__(self, inner: OutputFile, path: Path) -> None:
        self._inner = inner
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open for writing; raise FileExistsError unless `overwrite`."""
        if not overwrite and self._path.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self._path}")
        return _DurableStream(self._path)


class _CheckedFile:
    """A pyiceberg input file whose bytes are checked before anything is made of them; everything else is PyArrow's."""

    def __init__(self, inner: InputFile, path: Path) -> None:
        self._inner = inner
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)

    def open(self, seekable: bool = True) -> InputStream:
        """Read the file whole; raise Corrupt if it is damaged."""
        return io.BytesIO(read_metadata(self._path))


class DurableFileIO(PyArrowFileIO):
    """PyArrow's FileIO, but local files are synced before a commit can point at them, and metadata is checked.

    Remote files go through fsspec like all others of the warehouse: one way to find credentials and endpoints.
    """

    @cached_property
    def _remote(self) -> FsspecFileIO:
        return FsspecFileIO(self.properties)

    def new_output(self, location: str) -> Any:
        """Return an output file; local ones sync file and folder on close."""
        if not is_local(location):
            return self._remote.new_output(location)
        return _DurableFile(super().new_output(location), local_path(location))

    def new_input(self, location: str) -> Any:
        """Return an input file; local metadata is checked against its SHA-256 when it is opened."""
        if not is_local(location):
            return self._remote.new_input(location)
        inner = super().new_input(location)
        checked = location.endswith((".json", ".avro"))
        return _CheckedFile(inner, local_path(location)) if checked else inner

    def delete(self, location: Any) -> None:
        """Delete a file and the note of its SHA-256."""
        name = location if isinstance(location, str) else location.location
        if not is_local(name):
            self._remote.delete(name)
            return
        super().delete(location)
        digest_path(local_path(name)).unlink(missing_ok=True)
