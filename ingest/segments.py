"""WARC segments: written member by member, sealed, and moved into the warehouse."""

import errno
import hashlib
import os
import secrets
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from warcio.warcwriter import WARCWriter

from catalog import files
from catalog.errors import InputError
from ingest.members import Packer

CHUNK = 1 << 20


class SegmentWriter:
    """One open segment in the staging folder; each append is one write, so a killed process leaves whole members."""

    def __init__(self, folder: Path, user_agent: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{secrets.token_hex(8)}.warc.gz"
        self._file = self.path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self.num_bytes = 0
        self.num_records = 0
        packer = Packer(6)
        writer = WARCWriter(packer, gzip=False, warc_version="1.1")
        info = {
            "software": f"headrace/{version('headrace')}", "format": "WARC File Format 1.1",
            "http-header-user-agent": user_agent, "robots": "RFC 9309",
        }  # fmt: skip
        writer.write_record(writer.create_warcinfo_record(self.path.name, info))
        self._write(packer.finish())

    def append(self, member: bytearray) -> None:
        """Add one record whole; raise InputError, leaving the file as it was, where the disk does not take it."""
        self._write(member)
        self.num_records += 1

    def _write(self, member: bytearray) -> None:
        view = memoryview(member)
        try:
            while view:  # a file system that is almost full takes part of a write
                view = view[self._file.write(view) :]
        except OSError as error:
            self._file.truncate(self.num_bytes)
            self._file.seek(self.num_bytes)
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror}; make room and run again, what was fetched is kept"
            ) from error
        self._hash.update(member)
        self.num_bytes += len(member)

    def seal(self) -> str:
        """Make the segment and its name durable and return its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        files.fsync_folder(self.path.parent)
        return self._hash.hexdigest()


def seal_file(path: Path) -> str:
    """Make a finished file and its name durable and return its SHA-256."""
    files.fsync_folder(path.parent)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def salvage(path: Path) -> int:
    """Cut a segment that a crash left open behind its last whole member; return how many records it holds."""
    whole, members = 0, 0
    with path.open("r+b") as file:
        for end in member_ends(file):
            whole, members = end, members + 1
        file.truncate(whole)
        os.fsync(file.fileno())
    return max(members - 1, 0)  # the first describes the segment


def member_ends(file: BinaryIO) -> Iterator[int]:
    """Yield the offset behind each gzip member that is whole and passes its checksum."""
    position, data = 0, b""
    while True:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not unpacker.eof:
            data = data or file.read(CHUNK)
            if not data:
                return
            try:
                unpacker.decompress(data)
            except zlib.error:
                return
            position += len(data) - len(unpacker.unused_data)
            data = unpacker.unused_data
        yield position


def segment_path(sha256: str) -> str:
    """Return where a sealed segment lies in the warehouse."""
    return f"warc/{sha256[:2]}/{sha256}.warc.gz"


def store_segment(staged: Path, warehouse: str, sha256: str) -> str:
    """Move a sealed segment into the warehouse and return its path there; harmless when it has been moved already."""
    path = segment_path(sha256)
    if not staged.exists():
        return path
    target = files.join(warehouse, path)
    if files.is_local(target):
        files.make_folders(files.local_path(target).parent)
        try:
            staged.rename(files.local_path(target))
            files.fsync_folder(files.local_path(target).parent)
            return path
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    files.write_new(target, staged.read_bytes())
    staged.unlink()
    return path
