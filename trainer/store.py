"""Folders that appear whole or not at all, and folders named by the hash of what is in them."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from catalog import failpoint, files
from catalog.errors import Corrupt


def publish_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder aside, sync it and rename it to `folder`; keep what another process put there first."""
    files.make_folders(folder.parent)
    aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    aside.mkdir()
    try:
        write(aside)
        sync_folder(aside)
        failpoint.reach("folder")
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
        files.fsync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make every file below a folder durable."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            files.fsync_folder(path)
    files.fsync_folder(folder)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hash a folder: SHA-256 over the sorted relative paths of its files and the SHA-256 of each."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def keep_folder(folder: Path, shelf: Path) -> str:
    """Copy a folder to `shelf/<SHA-256>`, by hard links where the file system allows; return the hash."""
    sha256 = folder_sha256(folder)
    if not (shelf / sha256).is_dir():
        publish_folder(shelf / sha256, lambda aside: _link_tree(folder, aside))
    return sha256


def kept_folder(shelf: Path, sha256: str) -> Path:
    """Return the folder of a hash; raise Corrupt if it is gone or no longer has that hash."""
    folder = shelf / sha256
    if not folder.is_dir():
        raise Corrupt(f"{folder}: model weights are missing; restore them or roll back")
    if folder_sha256(folder) != sha256:
        raise Corrupt(f"{folder}: model weights do not match their SHA-256; restore them or roll back")
    return folder


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
