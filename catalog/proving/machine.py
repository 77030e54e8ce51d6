"""The hub as a state machine: whatever happens in whatever order, what readers see is what the ledger says it must be.

Publishing, settings, kills, takedowns, compaction, expiry, rollback and a consumer that pulls, in any order. After
every step each table is compared with rows computed from scratch by a model that shares no code with the hub.
"""

import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pyarrow as pa
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    get_state_machine_test,
    initialize,
    invariant,
    precondition,
    rule,
)

from catalog import doctor, ids, ledger, maintain, purge, snapshots
from catalog.fulltext import FullText
from catalog.home import Home, Input, Plan
from catalog.ledger import ORIGIN, Row, now
from catalog.proving import drivers, toychain
from catalog.proving.agreement import canonical, check_index
from catalog.proving.model import live_batches, toy_rows
from catalog.proving.toychain import EMBED, EXTRACT, FUSE, MODEL, REVISION
from catalog.schema import TABLES
from catalog.settings import Config, MaintenanceSettings
from catalog.stage import Stage, StageReport, Worker
from catalog.tombstones import Forgotten
from catalog.vectors import VectorIndex

RUNS = {"extract": toychain.run_extract, "embed": toychain.run_embed, "fuse": toychain.run_fuse}
JOINED = ("pages", "documents", "media", "text_features", "examples", "rejects")
AT_ONCE = MaintenanceSettings(grace_hours=0, retention_hours=0, min_files=2)
ORIGINS = 4
RECALL = 0.99
FLAT_MAX = 12
STEPS = 40  # of one history
URLS = st.builds("http://t/{}/{}".format, st.integers(0, ORIGINS - 1), st.integers(0, toychain.PER_ORIGIN - 1))


def run_pull(home: Home, config: Config) -> StageReport:
    """Consume every fuse batch once, as a trainer does."""
    inputs = tuple(Input(batch, batch.outputs.get("examples", 0)) for batch in home.todo(PULL, config))
    if not inputs:
        return StageReport(PULL.name)
    plan = Plan(inputs, pa.table({"example_id": pa.array([], pa.string())}), "example_id")
    return home.publish(PULL, config, [plan], _consumer, config.resources("train", toychain.RESOURCES))


def _consumer() -> Worker:
    return lambda part: {}


PULL = Stage("train", ("fuse",), (), 1, lambda _: {}, run_pull, joins=True, forever=True)
STAGES = {**toychain.STAGES, PULL.name: PULL}


def _config(root: Path, flavour: str) -> Config:
    return toychain.make_config(root, flavour, vectors={"flat_max": FLAT_MAX})


def _maintained(root: Path, moment: str) -> None:
    """Be a process that maintains a home, until it dies of `moment`."""
    drivers.arm(moment)
    with Home.open(_config(root, "A").catalog) as home:
        maintain.maintain(home, AT_ONCE)


def _taken_down(root: Path, url: str, moment: str) -> None:
    """Be a steward whose machine fails."""
    drivers.arm(moment)
    toychain.install()
    config = _config(root, "A")
    with Home.open(config.catalog) as home:
        purge.purge(home, config, purge.Order("url", url, "its owner asked", "steward"))


class Hub(RuleBasedStateMachine):
    """One home, driven here and, to be killed, in forked processes."""

    steps = 0  # of all histories

    @initialize()
    def open_home(self) -> None:
        """Start with an empty home."""
        self.patch = mock.patch("catalog.pipeline.stages", lambda: STAGES)
        self.patch.start()
        memory = Path("/dev/shm")  # noqa: S108 — a folder of its own below it; power loss has a figure of its own
        self.root = Path(tempfile.mkdtemp(prefix="headrace-hub-", dir=memory if memory.is_dir() else None))
        self.flavour = "A"
        self.configs = {flavour: _config(self.root, flavour) for flavour in "AB"}
        self.origins: dict[str, int] = {}
        self.gone: set[str] = set()
        self.compared: dict[str, object] = {}
        self.home = Home.open(self.config.catalog)
        self.index = self._open_index()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.home.close()
        self.patch.stop()
        shutil.rmtree(self.root)

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.configs[self.flavour]

    def _open_index(self) -> VectorIndex:
        return VectorIndex(self.root / "indexes", "text_features", MODEL, REVISION, self.config.catalog.vectors)

    def _knows(self, origin: int) -> None:
        self.origins[ids.batch_id("crawl", ORIGIN, [f"segment-{origin}"])] = origin

    # ── publishing ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(origin=st.integers(0, ORIGINS - 1))
    def publish_origin(self, origin: int) -> None:
        """Publish pages from outside; the same ones again are no news."""
        self._knows(origin)
        assert toychain.run_crawl_of(self.home, origin).batches <= 1
        assert toychain.run_crawl_of(self.home, origin).batches == 0

    @rule(stage=st.sampled_from(sorted(RUNS)))
    def run_stage(self, stage: str) -> None:
        """Run one stage; a second run finds nothing to do."""
        RUNS[stage](self.home, self.config)
        seq = self.home.view().seq
        assert RUNS[stage](self.home, self.config).batches == 0
        assert self.home.view().seq == seq

    @rule(flavour=st.sampled_from("AB"))
    def change_settings(self, flavour: str) -> None:
        """Edit the configuration file."""
        self.flavour = flavour

    @rule(last=st.integers(1, ORIGINS), passing=st.integers(1, 40))
    def crash(self, last: int, passing: int) -> None:
        """Be killed somewhere in a run of everything, in a process of its own."""
        code = drivers.run(drivers.drive, self.root, range(last), self.flavour, f"*:{passing}")
        assert code in (0, drivers.KILLED)
        for origin in range(last):
            self._knows(origin)

    @rule()
    def run_everything(self) -> None:
        """Run all stages; unless batches were turned off, everything is there under the settings of now."""
        for run in RUNS.values():
            run(self.home, self.config)
        state = self.home.view().state
        if not state.revoked:
            for stage in (EXTRACT, EMBED, FUSE):
                covered = {origin for row in state.live.values() if row.stage == stage.name for origin in row.origins}
                assert covered == {batch for batch in state.published if batch in self.origins}

    @rule()
    def pull(self) -> None:
        """Let the consumer take what it has not seen; nothing is taken twice."""
        waiting = self.home.todo(PULL, self.config)
        rows = self.home.view().read("examples", ["url"], [batch.batch_id for batch in waiting])
        assert self.gone.isdisjoint(rows["url"].to_pylist()), "what was taken down is pulled"
        assert run_pull(self.home, self.config).batches == bool(waiting)
        assert not self.home.todo(PULL, self.config)
        state = self.home.view().state
        rounds = {row.batch_id: row for row in state.published.values() if row.stage == PULL.name}
        taken = [item.batch_id for name in rounds.keys() - state.revoked for item in rounds[name].inputs]
        assert len(taken) == len(set(taken)), "a batch was pulled twice"

    # ── going back and forth ─────────────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: not all(row.lasts for row in self.home.view().state.live.values()))
    @rule(data=st.data())
    def turn_off(self, data: st.DataObject) -> None:
        """Take one live batch back."""
        state = self.home.view().state
        batch = data.draw(st.sampled_from(sorted(name for name, row in state.live.items() if not row.lasts)))
        row = Row(seq=0, kind="revoke", stage="", time=now(), targets=(batch,))
        self.home.ledger.append(lambda _: [row])
        assert batch not in self.home.view().live_ids

    @precondition(lambda self: self.home.view().state.revoked)
    @rule(data=st.data())
    def turn_on(self, data: st.DataObject) -> None:
        """Undo one turning off."""
        batch = data.draw(st.sampled_from(sorted(self.home.view().state.revoked)))
        row = Row(seq=0, kind="activate", stage="", time=now(), targets=(batch,))
        self.home.ledger.append(lambda _: [row])

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """Go back to any moment, and sometimes forth again: what was live then is live."""
        before = self.home.view()
        seq = data.draw(st.integers(0, before.seq))
        then = live_batches([row for row in before.state.rows if row.seq <= seq])
        lasting = {name for name, row in before.state.published.items() if row.lasts}
        snapshots.rollback(self.home, str(seq), False)
        assert set(self.home.view().live_ids) == then | lasting
        if data.draw(st.booleans()):
            snapshots.rollback(self.home, str(before.seq), False)
            assert self.home.view().live_ids == before.live_ids

    @rule()
    def bring_back(self) -> None:
        """Turn everything on again that the settings of now would give."""
        snapshots.again(self.home, self.config)

    # ── care ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(url=URLS)
    def take_down(self, url: str) -> None:
        """Purge a URL that may or may not have been fetched yet."""
        receipt = purge.purge(self.home, self.config, purge.Order("url", url, "its owner asked", "steward"))
        assert not receipt["proof"]["found"]
        self.gone.add(url)

    @rule(url=URLS, passing=st.integers(1, 30))
    def crash_taking_down(self, url: str, passing: int) -> None:
        """Be killed somewhere in a takedown; finished later it is complete, or it had not begun."""
        assert drivers.run(_taken_down, self.root, url, f"*:{passing}") in (0, drivers.KILLED)
        purge.resume(self.home, self.config)
        if Forgotten.of(self.home).url(url):
            self.gone.add(url)

    @rule()
    def keep_up(self) -> None:
        """Merge small files, expire old versions, collect what nothing needs."""
        maintain.maintain(self.home, AT_ONCE)

    @rule(passing=st.integers(1, 25))
    def crash_keeping_up(self, passing: int) -> None:
        """Be killed somewhere in maintenance."""
        assert drivers.run(_maintained, self.root, f"*:{passing}") in (0, drivers.KILLED)

    @rule()
    def compact_ledger(self) -> None:
        """Append a row when the ledger has too many files."""
        with mock.patch.object(ledger, "COMPACT_FILES", 1):
            self.home.ledger.append(lambda _: [Row(seq=0, kind="tag", stage="", time=now(), name="t")])

    # ── consumers ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(table=st.sampled_from(["pages", "documents", "examples"]))
    def look_up(self, table: str) -> None:
        """Use the key index."""
        check_index(self.home, table)

    @rule(again=st.booleans())
    def search_vectors(self, again: bool) -> None:
        """Search the vectors: exactly the live ones are found, as well as by brute force."""
        if again:
            self.index = self._open_index()
        view = self.home.view()
        self.index.refresh(view)
        live = view.read("text_features")
        vectors = pa.compute.cast(live["vector"], pa.list_(pa.float32())).to_pylist()[:1]
        if vectors:
            import numpy as np

            (found,) = self.index.search(np.asarray(vectors, np.float32), 1000)
            assert sorted(name for name, _ in found) == sorted(live["document_id"].to_pylist())
        recall = self.index.recall(view)
        assert recall is None or recall >= RECALL, f"recall@10 is {recall}"

    @rule()
    def search_words(self) -> None:
        """Search the words: exactly the live documents are found."""
        view = self.home.view()
        words = FullText(self.root / "indexes")
        try:
            words.refresh(view)
            live = view.read("documents", ["document_id", "text"]).to_pylist()
            for flavour in "AB":
                found = {name for name, _ in words.search(f"{flavour} text", "text", 1000).hits}
                assert found >= {row["document_id"] for row in live if row["text"].startswith(flavour)}
                assert found <= {row["document_id"] for row in live}
            assert words.problem(view) is None
        finally:
            words.close()

    @rule()
    def look_over(self) -> None:
        """Let doctor look for anything that is wrong."""
        assert not [finding for finding in doctor.look_over(self.home) if not finding.ok]

    @invariant()
    def live_rows_are_those_of_the_model(self) -> None:
        """Compare every table with rows computed from scratch for the batches that a replay finds live."""
        Hub.steps += 1
        view = self.home.view()
        rows = [row for row in view.state.rows if row.kind == "publish"]
        assert [row.seq for row in view.state.rows] == list(range(1, view.seq + 1))
        assert len({row.batch_id for row in rows}) == len(rows)
        live = live_batches(view.state.rows)
        assert set(view.live_ids) == live
        expected = None
        for table in JOINED:
            shown = (view.urls(table), live, frozenset(self.gone))
            assert all(Path(url).is_file() for url in shown[0])
            if self.compared.get(table) != shown:  # else no row can have changed since: files never do
                expected = expected or toy_rows([row for row in rows if row.batch_id in live], self.origins, self.gone)
                wanted = expected.get(table, TABLES[table].empty_table())
                assert canonical(view.read(table)) == canonical(wanted), table
                self.compared[table] = shown


def run(steps: int, first: int = 0) -> int:
    """Run histories from seeds `first`, `first` + 1, … until there were so many steps; return how many there were."""
    limits = settings(
        max_examples=5, stateful_step_count=STEPS, phases=[Phase.generate], deadline=None, database=None,
        print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    before = Hub.steps
    number = first
    while Hub.steps - before < steps:
        seed(number)(get_state_machine_test(Hub, settings=limits))()
        number += 1
    return Hub.steps - before
