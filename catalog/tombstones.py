"""What was taken down may not come in again: keyed hashes of URLs, hosts, payloads and texts."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import ada_url

from catalog import files
from catalog.errors import Corrupt
from catalog.urls import canonical

if TYPE_CHECKING:
    from catalog.home import Home

SubjectKind: TypeAlias = Literal["url", "host", "payload", "text"]
KEY = "keys/tombstones.key"  # in the warehouse, for all machines that write it
KEY_BYTES = 32
LOST = "without it nobody can tell what was taken down; restore it from a backup"


@dataclass(frozen=True)
class Forgotten:
    """The tombstones of a home; an empty one forgets nothing."""

    key: bytes = field(default=b"", repr=False)
    digests: frozenset[str] = frozenset()

    @classmethod
    def of(cls, home: "Home") -> "Forgotten":
        """Read every tombstone; none is ever rolled back."""
        rows = home.view().read("tombstones", ["subject"])
        found = frozenset(rows["subject"].to_pylist())
        return cls(read_key(home.warehouse, bool(found)), found) if found else cls()

    def url(self, url: str) -> bool:
        """Tell whether a URL, its host, or a domain above its host was taken down."""
        if not self.digests:
            return False
        return self._has("url", canonical(url) or url) or any(self._has("host", name) for name in domains_of(url))

    def payload(self, sha256: str) -> bool:
        """Tell whether bytes with this SHA-256 were taken down."""
        return bool(self.digests) and self._has("payload", sha256)

    def text(self, sha256: str) -> bool:
        """Tell whether a text with this SHA-256 was taken down."""
        return bool(self.digests) and self._has("text", sha256)

    def _has(self, kind: SubjectKind, subject: str) -> bool:
        return keyed_hash(self.key, kind, subject) in self.digests


NOTHING = Forgotten()


def keyed_hash(key: bytes, kind: SubjectKind, subject: str) -> str:
    """Return the HMAC-SHA-256 that stands for a subject: who has the table alone cannot guess what was taken down."""
    return hmac.new(key, f"{kind}\0{subject}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def read_key(warehouse: str, is_needed: bool = False) -> bytes:
    """Return the warehouse's key, made at its first use; raise Corrupt if one that is needed is gone, or is damaged."""
    url = files.join(warehouse, KEY)
    fs, path = files.open_fs(url)
    if not fs.exists(path):
        if is_needed:
            raise Corrupt(f"{url} is missing: {LOST}")
        files.write_new(url, secrets.token_bytes(KEY_BYTES))
    key = bytes(fs.cat_file(path))
    noted = files.noted_digest(url)
    if noted is None and not is_needed:  # for the first takedown, or the next of an older headrace's home
        files.note_digest(url)
    elif noted not in (None, hashlib.sha256(key).hexdigest()):
        raise Corrupt(f"{url} does not match its SHA-256: {LOST}")
    return key


def domains_of(url: str) -> Iterable[str]:
    """Yield the host of a URL, with its port and without, and the domains above it."""
    address = canonical(url)
    if address is None:
        return
    parsed = ada_url.URL(address)
    yield str(parsed.host)
    name = str(parsed.hostname).rstrip(".")
    while name:
        yield name
        name = name.partition(".")[2]
