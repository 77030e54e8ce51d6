"""A home: one folder with ledger, tables and indexes. Stages ask it what is to do, and publish through it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalog import files, pipeline
from catalog.errors import Corrupt, InputError
from catalog.keys import KeyIndex, key_values, take
from catalog.ledger import Ledger, Row, State, now
from catalog.pins import Pinned, Pins
from catalog.publish import Batch, Input, Plan, Publisher, publish_origin
from catalog.schema import KEYS, TABLES
from catalog.settings import CatalogSettings, Config, Resources
from catalog.shards import of_batches, open_dataset
from catalog.stage import Stage, StageReport, Worker

if TYPE_CHECKING:
    from catalog.store import Store

__all__ = ["Batch", "Home", "Input", "Plan", "View"]


class View:
    """The live rows of every table at one moment: the ledger is read first, tables are pinned after."""

    def __init__(self, pins: Pins, state: State, index: Callable[[], KeyIndex]) -> None:
        self._pins = pins
        self._index = index
        self._pinned: dict[str, Pinned | None] = {}
        self.state = state

    @property
    def seq(self) -> int:
        """The ledger's sequence number that this view shows."""
        return self.state.last_seq

    @cached_property
    def live_ids(self) -> frozenset[str]:
        """The ids of all live batches."""
        return frozenset(self.state.live)

    def live(self, stage: str) -> list[Batch]:
        """Return the live batches of one stage, oldest first."""
        rows = [row for row in self.state.live.values() if row.stage == stage]
        return [Batch.of(row) for row in sorted(rows, key=lambda row: row.seq)]

    def pinned(self, table: str) -> Pinned | None:
        """Return what a table was when this view first looked at it; None if it was never made."""
        if table not in self._pinned:
            self._pinned[table] = self._pins.pin(table)
        return self._pinned[table]

    def urls(self, table: str) -> list[str]:
        """Return the URLs of all data files of a table (live rows and others)."""
        pinned = self.pinned(table)
        return list(pinned.urls) if pinned else []

    def evolved(self, table: str) -> bool:
        """Tell whether some files of a table may lack columns that were added later."""
        pinned = self.pinned(table)
        return pinned is not None and (pinned.num_schemas > 1 or not pinned.columns.issuperset(TABLES[table].names))

    def read(self, table: str, columns: Sequence[str] | None = None, batches: Iterable[str] | None = None) -> pa.Table:
        """Read the live rows of a table, or all rows of the given published batches.

        Those may be newer than this view, or off since: a plan that got an input without its rows would lose them.
        """
        ids = self._holding(table) if batches is None else sorted(set(batches))
        urls = self.urls(table) if batches is None else self._holders(table, ids)
        if not ids or not urls:
            return TABLES[table].empty_table().select(list(columns) if columns else TABLES[table].names)
        try:
            dataset = open_dataset(urls, TABLES[table])
            return dataset.to_table(columns=list(columns) if columns else None, filter=of_batches(ids))
        except (OSError, pa.ArrowInvalid) as error:
            raise Corrupt(f"table {table}: a data file cannot be read: {error}; run headrace doctor") from error

    def _holders(self, table: str, ids: Sequence[str]) -> list[str]:
        """Return the files that may hold these batches now, which may be newer than this view."""
        stored = self._pins.store.find(table) if ids else None
        return self._pins.store.plan(stored, ids) if stored else []

    def lookup(self, table: str, column: str, values: Iterable[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Return the live rows whose key column (see schema.KEYS) holds one of `values`, through the key index."""
        names = list(columns) if columns else TABLES[table].names
        needed = list(dict.fromkeys([*names, column.partition(".")[0], "batch_id"]))
        values = set(values)
        wanted = sorted(values)
        found = self._index().find(table, column, wanted, self.urls(table))
        pieces = [take(url, rows, needed, table) for url, rows in sorted(found.items())]
        schema = pa.schema([TABLES[table].field(name) for name in needed])
        rows = pa.concat_tables(pieces) if pieces else schema.empty_table()
        live = pa.compute.is_in(rows["batch_id"], pa.array(sorted(self.live_ids), pa.string()))
        same = pa.array([not values.isdisjoint(found) for found in key_values(rows, column)], pa.bool_())
        return rows.filter(pa.compute.and_(live, same)).select(names)

    def _holding(self, table: str) -> list[str]:
        return sorted(row.batch_id for row in self.state.live.values() if row.outputs.get(table) or table == "rejects")


class Home:
    """The ledger, the tables and the indexes below one root."""

    def __init__(self, settings: CatalogSettings) -> None:
        self.settings = settings
        self.root, self.warehouse = place_of(settings)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"root: {self.root} cannot be created: {error.strerror}; choose another --root") from error
        if files.is_local(self.warehouse):
            files.make_folders(files.local_path(self.warehouse))
        _refuse_lost_catalog(self.root, settings)
        self.pins = Pins(self.root, self.warehouse, settings.catalog, lambda: self.store)
        self.ledger = Ledger(self.pins)
        if self.pins.pin("batches") is None:
            self.store.load("batches")
        self.seen = 0  # the ledger's last seq when a view of it was taken: what is planned knows nothing later

    @classmethod
    def open(cls, settings: CatalogSettings) -> "Home":
        """Open a home, creating it on first use."""
        return cls(settings)

    def close(self) -> None:
        """Release the databases."""
        if "index" in self.__dict__:
            self.index.close()
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> "Home":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def store(self) -> "Store":
        """The Iceberg tables of this home."""
        from catalog.store import Store  # half a second, which those who only read need not wait

        return Store(self.root, self.warehouse, self.settings.catalog)

    @cached_property
    def index(self) -> KeyIndex:
        """The key index of this home."""
        return KeyIndex(self.root / "indexes" / "keys.db")

    def view(self, at: int | None = None) -> View:
        """Pin what is live now, or what was live when the ledger's last row was `at`."""
        state = self.ledger.refresh()
        self.seen = max(self.seen, state.last_seq) if at is None else self.seen
        return View(self.pins, state if at is None else state.at(at), lambda: self.index)

    def settle(self) -> None:
        """Plan every table and index its keys, so that the next question waits for neither."""
        view = self.view()
        for table in TABLES:
            urls = view.urls(table)
            if table in KEYS:
                self.index.refresh(table, urls)

    def activate(self, stage: Stage, config: Config) -> None:
        """Make a stage's configured recipe the active one, if it is not."""
        wanted = pipeline.recipe(stage, config)
        if stage.reads and not stage.forever and self.ledger.refresh().active_recipe(stage.name) != wanted:
            row = Row(seq=0, kind="activate", stage=stage.name, time=now(), settings_hash=wanted)
            self.ledger.append(lambda state: [] if state.active_recipe(stage.name) == wanted else [row])

    def todo(self, stage: Stage, config: Config, activate: bool = True) -> list[Batch]:
        """Return the live batches of the configured recipes that a stage reads and has not consumed, oldest first."""
        if activate:
            self.activate(stage, config)
        return pending(self.ledger.refresh(), stage, config)

    def publish(
        self,
        stage: Stage,
        config: Config,
        plans: Iterable[Plan],
        make_worker: Callable[[], Worker],
        resources: Resources,
    ) -> StageReport:
        """Run the plans' parts on the configured engine and publish each batch exactly once."""
        return Publisher(self, stage, config).run(plans, make_worker, resources)

    def publish_origin(
        self,
        stage: Stage,
        key: str,
        num_in: int,
        tables: Mapping[str, pa.Table],
        settings: Mapping[str, object],
    ) -> StageReport:
        """Publish rows that came from outside as one batch, identified by the hash of their content."""
        return publish_origin(self, stage, key, num_in, tables, settings)


def place_of(settings: CatalogSettings) -> tuple[Path, str]:
    """Return a home's root and warehouse, local ones as full paths."""
    root = settings.root.expanduser().absolute()
    if any("\ud800" <= character <= "\udfff" for character in str(root)):
        raise InputError(f"root: {root} is not UTF-8, as paths in table metadata have to be; choose another --root")
    warehouse = settings.warehouse or str(root / "warehouse")
    if files.is_local(warehouse):
        warehouse = str(files.local_path(warehouse).expanduser().absolute())
    return root, warehouse


def _refuse_lost_catalog(root: Path, settings: CatalogSettings) -> None:
    """Raise Corrupt where tables stand without their catalog: a new one would show them empty and start over."""
    catalog = root / "catalog.db"
    own = not settings.warehouse and not settings.catalog
    if own and (root / "warehouse" / "tables").is_dir() and not (catalog.is_file() and catalog.stat().st_size):
        raise Corrupt(
            f"{catalog} is missing or empty though {root / 'warehouse'} holds tables; restore it from a backup, or run "
            "headrace doctor --repair"
        )


def pending(state: State, stage: Stage, config: Config) -> list[Batch]:
    """Subtract: live input batches of the configured recipes, minus those consumed, minus those whose siblings lag."""
    if not stage.reads:
        return []
    sources = {
        other.name: pipeline.recipe(other, config) for other in pipeline.enabled(config) if other.name in stage.reads
    }
    done = state.consumed(stage.name, pipeline.recipe(stage, config))  # what was rolled back is not made again
    if stage.forever:
        done = done | state.consumed(stage.name, None)
    rows = [
        row
        for row in state.live.values()
        if sources.get(row.stage) == row.settings_hash
        and row.batch_id not in done
        and _ready(state, row, stage, config)
    ]
    return [Batch.of(row) for row in sorted(rows, key=lambda row: row.seq)]


def _ready(state: State, row: Row, stage: Stage, config: Config) -> bool:
    """Tell whether each enabled sibling has published for an input batch, and for what its siblings made of it."""
    siblings = [other for other in pipeline.enabled(config) if other.name in stage.waits_for]
    made = {row.stage: {row.batch_id}}
    for sibling in siblings:  # in pipeline order: annotate comes after transcribe
        wanted = pipeline.recipe(sibling, config)
        needed = set().union(*(made.get(parent, set()) for parent in sibling.reads))
        if not needed <= state.consumed(sibling.name, wanted):
            return False
        found = set().union(*(state.made_from.get((sibling.name, batch), set()) for batch in needed))
        made[sibling.name] = {batch for batch in found if state.published[batch].settings_hash == wanted}
    return True
