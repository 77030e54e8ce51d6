"""The tables: Apache Iceberg through pyiceberg, opened, committed and planned; nothing here knows about stages."""

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pydantic
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate
from sqlalchemy import URL, event
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from catalog import failpoint, files
from catalog.errors import CommitConflict, Corrupt, InputError
from catalog.manifests import Manifests
from catalog.pins import NAMESPACE, URI, check_place
from catalog.schema import BATCHES, TABLES
from catalog.shards import of_batches, open_dataset

# Every update inside a commit copies the whole metadata, so commits slow down with each snapshot that is kept;
# readers pin files, not snapshots. Expire back to KEEP_SNAPSHOTS whenever there are more than MOST_SNAPSHOTS.
KEEP_SNAPSHOTS = 3
MOST_SNAPSHOTS = 10
ATTEMPTS = 60
CREDENTIALS = f"commands without a configuration take passwords from the environment, such as {URI}"
OTHERS = ("locked", "already exists")  # what SQLite says when another process writes, or has just made the same tables
ID_ONLY = pa.schema([("batch_id", pa.string())])
PROPERTIES = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "5",
    "commit.retry.num-retries": "0",  # built-in retries do not check again whether the commit is still right
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "10",  # a process opens each once, at 2 ms however few files it names
    "write.parquet.compression-codec": "zstd",
}
# two writers may both clean up an old metadata file, and the second would be told of it as a warning
logging.getLogger("pyiceberg.catalog").setLevel(logging.ERROR)
ResultT = TypeVar("ResultT")


class Store:
    """Every Iceberg table of one home."""

    def __init__(self, root: Path, warehouse: str, properties: dict[str, str]) -> None:
        self.warehouse = warehouse
        self._ensured: set[str] = set()
        self._manifests = Manifests()
        self._properties = {
            "type": "sql",
            "uri": URL.create("sqlite", database=str(root / "catalog.db")).render_as_string(),
            "warehouse": warehouse,  # local ones as plain paths: in a URL, # and ? would end the path
            "py-io-impl": "catalog.durable.DurableFileIO",
            **properties,
        }
        if URI in os.environ:  # pyiceberg lets properties win over the environment, but those hold no passwords
            self._properties["uri"] = os.environ[URI]
        place = f"the catalog of {root}"
        try:
            self._catalog: Catalog = committing(lambda: _connected(self._properties), place)
        except OSError as error:
            raise InputError(f"{place} cannot be opened: {error}; check that the folder is writable") from error

    def close(self) -> None:
        """Release the catalog's connections."""
        self._catalog.close()

    def load(self, name: str) -> Table:
        """Return the table as it is now (made if missing); the handle stays at this snapshot until refreshed."""
        if name not in self._ensured:
            committing(lambda: self._ensure(name, BATCHES if name == "batches" else TABLES[name]), f"table {name}")
            self._ensured.add(name)
        with sound(f"table {name}"):
            return self._load(name)

    def find(self, name: str) -> Table | None:
        """Return the table as it is now for reading, which writes nothing: a full disk keeps nobody from it."""
        with sound(f"table {name}"), contextlib.suppress(NoSuchTableError):
            return self._load(name)
        return None

    def _load(self, name: str) -> Table:
        try:
            table = self._catalog.load_table((NAMESPACE, name))
        except FileNotFoundError as error:  # another writer may have replaced the metadata meanwhile
            check_place(self.warehouse, name, str(error.filename))
            table = self._catalog.load_table((NAMESPACE, name))
        check_place(self.warehouse, name, table.metadata_location)
        return table

    def names(self) -> list[str]:
        """Return the names of the tables that the catalog has."""
        with sound("the catalog"), contextlib.suppress(NoSuchNamespaceError):
            return sorted(name for _, name in self._catalog.list_tables(NAMESPACE))
        return []

    def forget(self, name: str) -> None:
        """Take a table out of the catalog, if it is there; no file is removed."""
        with sound(f"table {name}"), contextlib.suppress(NoSuchTableError):
            self._catalog.drop_table((NAMESPACE, name))
        self._ensured.discard(name)

    def refresh(self, table: Table) -> None:
        """Move a handle to the table's present snapshot."""
        with sound(f"table {table.name()[-1]}"):
            table.refresh()

    def _ensure(self, name: str, schema: pa.Schema) -> None:
        """Create a table, or add the columns and properties that an older headrace did not write."""
        try:
            table = self._load(name)
        except NoSuchTableError:
            with contextlib.suppress(NamespaceAlreadyExistsError, IntegrityError):
                self._catalog.create_namespace(NAMESPACE)
            location = files.join(str(self._properties["warehouse"]), "tables", name)
            with contextlib.suppress(TableAlreadyExistsError):
                self._catalog.create_table((NAMESPACE, name), schema, location=location, properties=PROPERTIES)
            return
        if not has_columns(table, schema):
            with table.update_schema() as update:
                update.union_by_name(schema)
        if missing := {key: value for key, value in PROPERTIES.items() if key not in table.properties}:
            with table.transaction() as transaction:
                transaction.set_properties(missing)

    def holds(self, table: Table, batch_id: str) -> bool:
        """Tell whether rows of this batch are committed in the table."""
        urls = self.plan(table, [batch_id])
        # a planned file only may hold it: a compacted one spans all ids between its first and its last
        return bool(open_dataset(urls, ID_ONLY).count_rows(filter=of_batches([batch_id])))

    def add(self, name: str, batch_id: str, urls: Sequence[str]) -> bool:
        """Commit one batch's shards to one table, once; return False if its rows were already there."""

        def attempt() -> bool:
            table = self.load(name)
            if self.holds(table, batch_id):
                return False
            failpoint.reach("before-add")
            add_files(table, urls)
            failpoint.reach("after-add")
            self.expire(table)
            return True

        return committing(attempt, f"table {name}")

    def swap(self, table: Table, old: Sequence[str], new: Sequence[str]) -> None:
        """Put files in the place of others in one commit; raise CommitFailedException if those are not there now."""
        files_by_url = {task.file.file_path: task.file for task in table.scan().plan_files()}
        if not files_by_url.keys() >= set(old):
            raise CommitFailedException(f"{table.name()[-1]}: another writer replaced files that were to be replaced")
        with Committing(table) as transaction:
            if transaction.table_metadata.name_mapping() is None:
                mapping = table.metadata.schema().name_mapping.model_dump_json()
                transaction.set_properties({"schema.name-mapping.default": mapping})
            with transaction.update_snapshot().overwrite() as update:
                for url in old:
                    update.delete_data_file(files_by_url[url])
                for file in parquet_files_to_data_files(table.io, transaction.table_metadata, iter(new)):
                    update.append_data_file(file)

    def expire(self, table: Table) -> None:
        """Forget the oldest snapshots when there are more than MOST_SNAPSHOTS."""
        snapshots = sorted(table.snapshots(), key=lambda snapshot: snapshot.timestamp_ms)
        if len(snapshots) <= MOST_SNAPSHOTS:
            return
        current = {ref.snapshot_id for ref in table.metadata.refs.values()}
        old = [one.snapshot_id for one in snapshots[:-KEEP_SNAPSHOTS] if one.snapshot_id not in current]
        try:
            table.maintenance.expire_snapshots().by_ids(old).commit()
        except CommitFailedException:
            return  # another writer came between; the next commit expires them
        except OperationalError as error:
            if not any(reason in str(error.orig) for reason in OTHERS):
                raise  # else: as above; what was committed before must not be tried again

    def expire_before(self, name: str, moment: float) -> int:
        """Forget a table's snapshots that were replaced before a time (seconds since 1970); return how many."""

        def attempt() -> int:
            table = self.load(name)
            snapshots = sorted(table.snapshots(), key=lambda snapshot: snapshot.timestamp_ms)
            current = {ref.snapshot_id for ref in table.metadata.refs.values()}
            old = [
                one.snapshot_id
                for one, after in pairwise(snapshots)
                if after.timestamp_ms < moment * 1000 and one.snapshot_id not in current
            ]
            if old:
                table.maintenance.expire_snapshots().by_ids(old).commit()
            return len(old)

        return committing(attempt, f"table {name}")

    def expire_now(self, name: str) -> None:
        """Forget every snapshot of a table but the present one."""

        def attempt() -> None:
            table = self.load(name)
            present = {ref.snapshot_id for ref in table.metadata.refs.values()}
            old = [one.snapshot_id for one in table.snapshots() if one.snapshot_id not in present]
            if old:
                table.maintenance.expire_snapshots().by_ids(old).commit()

        committing(attempt, f"table {name}")

    def reached(self, name: str) -> set[str]:
        """Return every file that a table's metadata reaches, from any snapshot that it still has."""
        table = self.load(name)
        found = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
        with sound(f"table {name}"):
            for snapshot in table.snapshots():
                found.add(snapshot.manifest_list)
                for manifest in snapshot.manifests(table.io):
                    if manifest.manifest_path not in found:
                        found.add(manifest.manifest_path)
                        entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                        found |= {entry.data_file.file_path for entry in entries}
        return found

    def plan(self, table: Table, batches: Iterable[str] | None) -> list[str]:
        """Return the URLs of the table's data files that may hold rows of these batches (all: None)."""
        with sound(f"table {table.name()[-1]}"):
            return self._manifests.plan(table, batches)

    def manifest_files(self, table: Table) -> list[str]:
        """Name the manifest list and the manifests of a handle's snapshot."""
        snapshot = table.current_snapshot()
        if snapshot is None:
            return []
        with sound(f"table {table.name()[-1]}"):
            return [snapshot.manifest_list, *(one.manifest_path for one in snapshot.manifests(table.io))]


def has_columns(table: Table, schema: pa.Schema) -> bool:
    """Tell whether a table has every declared column; one of an older headrace may not."""
    return set(schema.names) <= {field.name for field in table.schema().fields}


def _connected(properties: dict[str, str]) -> Catalog:
    """Open the catalog; raise CommitFailedException where another process makes the same tables in its database."""
    try:
        catalog = load_catalog(NAMESPACE, **properties)
    except (IntegrityError, ProgrammingError) as error:  # PostgreSQL; SQLite locks instead
        if any(reason in str(error.orig) for reason in OTHERS):
            raise CommitFailedException(str(error.orig)) from error
        raise
    if isinstance(catalog, SqlCatalog) and catalog.engine.dialect.name == "sqlite":
        # else a power loss soon after a commit may bring its journal back, and SQLite would then undo the commit
        event.listen(catalog.engine, "connect", lambda db, _: db.execute("PRAGMA synchronous = EXTRA").close())
        catalog.engine.dispose()
    return catalog


class Committing(Transaction):
    """A transaction that copies the table's metadata once for each change, not each time that it looks at it.

    pyiceberg looks 20 times a commit, and each copy costs milliseconds that grow with the snapshots kept.
    """

    _seen: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """Return the metadata with the staged updates."""
        base, updates = self._table.metadata, self._updates
        if self._seen is None or self._seen[0] is not base or self._seen[1] is not updates:
            self._seen = base, updates, super().table_metadata
        return self._seen[2]


def add_files(table: Table, urls: Sequence[str]) -> None:
    """Commit files to a table; the caller knows that they are not there."""
    with Committing(table) as transaction:
        transaction.add_files(list(urls), check_duplicate_files=False)


def committing(attempt: Callable[[], ResultT], what: str) -> ResultT:
    """Run `attempt` (refresh, check, commit) until no other writer comes between; CommitConflict if one always does."""
    for number in range(ATTEMPTS):
        try:
            with sound(what):
                return attempt()
        except CommitFailedException:
            pass
        except OperationalError:
            pass  # of another writer's making, else `sound` makes it an InputError
        time.sleep(random.uniform(0, min(0.02 * 2**number, 1.0)))  # noqa: S311 — spreads writers, keeps no secret
    raise CommitConflict(f"{what}: {ATTEMPTS} commits in a row lost to other writers; run fewer writers on this home")


@contextmanager
def sound(what: str) -> Iterator[None]:
    """Raise Corrupt where the catalog's database or a table's metadata is damaged or gone."""
    try:
        yield
    except FileNotFoundError as error:
        raise Corrupt(f"{what}: {error.filename or error} is missing; run headrace doctor") from error
    except OperationalError as error:
        if any(reason in str(error.orig) for reason in OTHERS):
            raise
        if "decode" in str(error.orig):
            raise Corrupt(f"{what}: the catalog's database is damaged: {error.orig}; run headrace doctor") from error
        raise InputError(
            f"{what}: the catalog's database cannot be used: {error.orig}; make room, check that it may be written and "
            f"that its server is up; {CREDENTIALS}"
        ) from error
    except DatabaseError as error:
        if isinstance(error, IntegrityError):
            raise
        raise Corrupt(f"{what}: the catalog's database is damaged: {error.orig}; run headrace doctor") from error
    except pydantic.ValidationError as error:
        raise Corrupt(f"{what}: the table's metadata cannot be read; run headrace doctor") from error
