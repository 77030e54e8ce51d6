"""Files that sources are read from: local paths and globs, and whatever fsspec reaches (s3://, gs://, https://)."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import aiohttp
import fsspec

from catalog.errors import ConfigError
from catalog.ids import make_id
from ingest.addresses import Guard, GuardedResolver
from ingest.fetch import identity
from ingest.settings import NetworkSettings
from ingest.source_settings import scheme_of
from ingest.urls import file_url

WEB = ("http", "https")
VERSION_KEYS = ("size", "mtime", "created", "ETag", "etag", "LastModified", "Last-Modified", "generation", "md5Hash")

READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, aiohttp.ClientError, asyncio.TimeoutError)
with suppress(ImportError):  # comes with s3fs
    from botocore.exceptions import BotoCoreError

    READ_ERRORS = (*READ_ERRORS, BotoCoreError)


@dataclass(frozen=True)
class File:
    """One file of a source, and by what a changed file is told from an unchanged one."""

    path: str  # an absolute local path, or a URL
    signature: str

    @property
    def url(self) -> str:
        """The file's URL, whatever it lies on."""
        return self.path if scheme_of(self.path) else file_url(self.path)


def signature_of(file: Path) -> str:
    """Return size and modification time of a local file; '' where it is gone."""
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def find_files(url: str, suffixes: Sequence[str], network: NetworkSettings) -> list[File]:
    """Return the files that a path, folder, glob or URL names, in order; raise ConfigError for a bad glob or scheme.

    Of a folder it takes the visible files with one of the `suffixes`.
    """
    if scheme_of(url) in ("", "file"):
        return [File(str(path), signature_of(path)) for path in _local_files(url, suffixes)]
    fs, path = open_fs(url, network)
    if scheme_of(url) in WEB:
        paths = [url]
    elif any(mark in path for mark in "*?["):
        paths = [fs.unstrip_protocol(found) for found in sorted(fs.glob(path))]
    elif fs.isdir(path):
        found = (name for name in sorted(fs.find(path)) if _is_wanted(name.removeprefix(path), suffixes))
        paths = [fs.unstrip_protocol(name) for name in found]
    else:
        paths = [url] if fs.exists(path) else []
    return [File(path, _remote_signature(fs, path)) for path in paths]


def _local_files(url: str, suffixes: Sequence[str]) -> list[Path]:
    local = Path(url.removeprefix("file://")).expanduser().absolute()
    if local.is_dir():
        found = (file for file in local.rglob("*") if _is_wanted(str(file.relative_to(local)), suffixes))
        return sorted(file for file in found if file.is_file())
    if local.is_file():
        return [local]
    try:
        return sorted(Path(local.anchor).glob(str(local.relative_to(local.anchor))))
    except ValueError as error:
        raise ConfigError(f"data_sources: '{url}': {error}") from error


def _is_wanted(name: str, suffixes: Sequence[str]) -> bool:
    parts = name.strip("/").lower().split("/")
    return any(mark in parts[-1] for mark in suffixes) and not any(part.startswith((".", "cache-")) for part in parts)


def _remote_signature(fs: Any, path: str) -> str:
    info = fs.info(path)
    return make_id(*(f"{key}={info[key]}" for key in VERSION_KEYS if info.get(key) is not None))


def open_fs(url: str, network: NetworkSettings) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it; web addresses are judged by the network's guard."""
    scheme = scheme_of(url)
    try:
        if scheme in WEB:
            client = partial(_guarded_client, network)
            return fsspec.filesystem(scheme, get_client=client, skip_instance_cache=True), url
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except (ImportError, ValueError) as error:
        raise ConfigError(f"data_sources: '{url}': {error}") from error


async def _guarded_client(network: NetworkSettings, **_: object) -> aiohttp.ClientSession:
    guard = Guard.of(network.allow_private_hosts)
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard),
        use_dns_cache=False,
        socket_factory=guard.open_socket,
        happy_eyeballs_delay=None,
    )
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": identity(network)},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0),
    )  # fmt: skip


def open_input(path: str, network: NetworkSettings) -> BinaryIO:
    """Open a file of a source for reading; raise one of READ_ERRORS."""
    if not scheme_of(path):
        return Path(path).open("rb")
    fs, name = open_fs(path, network)
    return cast(BinaryIO, fs.open(name, "rb"))
