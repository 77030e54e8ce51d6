"""pyiceberg's file IO, made durable: what it writes is synced and its SHA-256 noted; what it reads of it is checked."""

import hashlib
import io
import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

from catalog.files import digest_path, fsync_folder, is_local, local_path, make_folders, read_metadata


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


class _File:
    """A local file of pyiceberg's: what is not defined below is PyArrow's."""

    def __init__(self, inner: InputFile | OutputFile, path: Path) -> None:
        self._inner = inner
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)


class _DurableFile(_File):
    """An output file whose stream is durable once closed."""

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open for writing; raise FileExistsError unless `overwrite`."""
        if not overwrite and self._path.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self._path}")
        return _DurableStream(self._path)


class _CheckedFile(_File):
    """An input file whose bytes are checked before anything is made of them."""

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
