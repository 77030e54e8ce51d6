"""Where a reader finds a table's files without opening Iceberg: a metadata file never changes, so its plan is kept.

What the catalog's database points at is asked anew each time. What that metadata file and its manifests say is read by
pyiceberg once, in whichever process comes first, and noted in `plans/` below the home, with a SHA-256 of its own: a
note that is damaged, half written or of another metadata file is as good as none. The metadata's own bytes are
compared with their SHA-256 each time, as they would be if they were parsed.
"""

import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from catalog import files
from catalog.errors import Corrupt, InputError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from catalog.store import Store

NAMESPACE = "headrace"
URI = "PYICEBERG_CATALOG__HEADRACE__URI"
FOLDER = "plans"
# As the Iceberg project lays its SQL catalogs out for every language.
POINTER = "SELECT metadata_location FROM iceberg_tables WHERE (catalog_name, table_namespace, table_name) = (?, ?, ?)"


@dataclass(frozen=True)
class Pinned:
    """What one metadata file says of its table."""

    location: str
    metadata: tuple[str, ...]  # the file itself, its manifest list and manifests
    urls: tuple[str, ...]  # of the data files, sorted
    num_bytes: int
    num_schemas: int
    columns: frozenset[str]


NOTED = tuple(field.name for field in fields(Pinned))


class Pins:
    """The tables of one home as they are now, for those who only read."""

    def __init__(self, root: Path, warehouse: str, properties: dict[str, str], store: "Callable[[], Store]") -> None:
        self.warehouse = warehouse
        self._root = root
        self._open = store
        # another catalog than the home's own is asked through pyiceberg
        self._database = None if properties or URI in os.environ else root / "catalog.db"
        self._known: dict[str, Pinned] = {}

    @property
    def store(self) -> "Store":
        """The tables themselves, which take half a second to import: for those who write."""
        return self._open()

    def pin(self, name: str) -> Pinned | None:
        """Return what a table is now, None if it was never made; raise Corrupt where its metadata is damaged."""
        known = self._known.get(name)
        table = None
        if self._database:
            location = self._pointer(name)
        else:
            table = self.store.find(name)
            location = table.metadata_location if table else None
        if location is None or (known and known.location == location):
            return known if location else None
        found = self._noted(name, location)
        if found is None:
            table = table or self.store.find(name)
            if table is None:
                return None
            found = self.of(table)
            self._note(name, found)
        self._known[name] = found
        return found

    def of(self, table: "Table") -> Pinned:
        """Return what a table is at the snapshot of this handle."""
        name = table.name()[-1]
        known = self._known.get(name)
        if known is not None and known.location == table.metadata_location:
            return known
        snapshot = table.current_snapshot()
        lists = self.store.manifest_files(table)
        totals = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return Pinned(
            table.metadata_location,
            (table.metadata_location, *lists),
            tuple(self.store.plan(table, None)),
            int(totals.get("total-files-size", 0)),
            len(table.metadata.schemas),
            frozenset(field.name for field in table.schema().fields),
        )

    def _pointer(self, name: str) -> str | None:
        """Ask the home's own catalog which metadata file a table has; None if it has no such table."""
        assert self._database
        if not self._database.is_file():
            return None
        what = f"the catalog of {self._root}"
        try:  # not read-only: a commit that was cut off has to be taken back first
            with closing(sqlite3.connect(f"file:{quote(str(self._database))}?mode=rw", uri=True, timeout=60)) as db:
                row = db.execute(POINTER, (NAMESPACE, NAMESPACE, name)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            if "decode" in str(error):
                raise Corrupt(f"{what}: the catalog's database is damaged: {error}; run headrace doctor") from error
            raise InputError(
                f"{what}: the catalog's database cannot be used: {error}; make room, and check that it may be written"
            ) from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"{what}: the catalog's database is damaged: {error}; run headrace doctor") from error
        if row is None:
            return None
        location = str(row[0])
        check_place(self.warehouse, name, location)
        return location

    def _noted(self, name: str, location: str) -> Pinned | None:
        """Return what was noted of a metadata file, once its bytes and its manifests' are what they were."""
        try:
            digest, _, told = (self._root / FOLDER / f"{name}.json").read_bytes().partition(b"\n")
        except OSError:
            return None
        if _seal(told) != digest:
            return None
        note = json.loads(told)
        if note["location"] != location:
            return None
        try:
            for url in note["metadata"] if files.is_local(location) else ():
                files.read_metadata(files.local_path(url))
        except FileNotFoundError:  # another writer may have replaced it meanwhile, which pyiceberg then finds
            return None
        lists = {
            "metadata": tuple(note["metadata"]),
            "urls": tuple(note["urls"]),
            "columns": frozenset(note["columns"]),
        }
        return Pinned(**note | lists)

    def _note(self, name: str, pinned: Pinned) -> None:
        """Keep a plan for the next process; where that cannot be, the next one plans again."""
        told = json.dumps(asdict(pinned), default=sorted).encode()
        folder = self._root / FOLDER
        aside = folder / f".{name}.{secrets.token_hex(4)}.tmp"
        with suppress(OSError):  # a full disk keeps nobody from reading
            folder.mkdir(exist_ok=True)
            try:
                aside.write_bytes(_seal(told) + b"\n" + told)
                aside.replace(folder / f"{name}.json")
            finally:
                aside.unlink(missing_ok=True)


def _seal(told: bytes) -> bytes:
    """Hash a note together with the names of its fields: what another headrace noted is as good as nothing."""
    return hashlib.sha256(repr(NOTED).encode() + told).hexdigest().encode()


def check_place(warehouse: str, name: str, location: str) -> None:
    """Raise Corrupt if a table's files are in another folder: writing there would change another home."""
    if location.startswith(warehouse.rstrip("/") + "/") or not (files.is_local(location) and files.is_local(warehouse)):
        return
    known, here = files.local_path(location), files.local_path(warehouse) / "tables" / name / "metadata"
    here /= known.name
    if not (here.is_file() and known.is_file() and here.samefile(known)):  # else: another name of the same folder
        raise Corrupt(
            f"{warehouse} was moved or copied from {known.parents[3]}; run headrace doctor --repair, "
            "which makes it a home of its own"
        )
