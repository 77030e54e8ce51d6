"""The hub as a state machine: whatever happens in whatever order, live rows are what the ledger says they must be."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from catalog import ids, ledger
from catalog.home import Home
from catalog.ledger import ORIGIN, Row, now
from catalog.proving import drivers, toychain
from catalog.proving.agreement import canonical, check_index
from catalog.proving.model import live_batches, toy_rows
from catalog.proving.toychain import CRAWL, EMBED, EXTRACT, FUSE, PER_ORIGIN
from catalog.schema import TABLES

RUNS = {"extract": toychain.run_extract, "embed": toychain.run_embed, "fuse": toychain.run_fuse}
JOINED = ("pages", "documents", "media", "text_features", "examples", "rejects")


class Hub(RuleBasedStateMachine):
    """One home, driven here and, to be killed, in forked processes."""

    @initialize()
    def open_home(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("catalog.pipeline.stages", lambda: toychain.STAGES)
        self.root = Path(tempfile.mkdtemp(prefix="hub-"))
        self.flavour = "A"
        self.origins: dict[str, int] = {}
        self.home = Home.open(toychain.make_config(self.root).catalog)

    def teardown(self) -> None:
        self.home.close()
        self.patch.undo()
        shutil.rmtree(self.root)

    @property
    def config(self) -> toychain.Config:
        return toychain.make_config(self.root, self.flavour)

    def _knows(self, origin: int) -> None:
        self.origins[ids.batch_id("crawl", ORIGIN, [f"segment-{origin}"])] = origin

    @rule(origin=st.integers(0, 2))
    def publish_origin(self, origin: int) -> None:
        """Publish pages from outside; the same ones again are no news."""
        self._knows(origin)
        pages = {"pages": toychain.page_rows(origin)}
        done = self.home.publish_origin(CRAWL, f"segment-{origin}", PER_ORIGIN, pages, {})
        assert done.batches <= 1

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

    @rule(last=st.integers(1, 3), passing=st.integers(1, 40))
    def crash(self, last: int, passing: int) -> None:
        """Be killed somewhere in a run of everything, in a process of its own."""
        code = drivers.run(drivers.drive, self.root, range(last), self.flavour, f"*:{passing}")
        assert code in (0, drivers.KILLED)
        for origin in range(last):
            self._knows(origin)

    @rule()
    def run_everything(self) -> None:
        """Run all stages; unless rows were taken down, everything is there under the settings of now."""
        for run in RUNS.values():
            run(self.home, self.config)
        state = self.home.view().state
        if not state.revoked:
            for stage in (EXTRACT, EMBED, FUSE):
                covered = {origin for row in state.live.values() if row.stage == stage.name for origin in row.origins}
                assert covered == {batch for batch in state.published if batch in self.origins}

    @precondition(lambda self: self.home.view().state.live)
    @rule(data=st.data())
    def take_down(self, data: st.DataObject) -> None:
        """Take one live batch back."""
        batch = data.draw(st.sampled_from(sorted(self.home.view().state.live)))
        row = Row(seq=0, kind="revoke", stage="", time=now(), targets=(batch,))
        self.home.ledger.append(lambda _: [row])
        assert batch not in self.home.view().live_ids

    @precondition(lambda self: self.home.view().state.revoked)
    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        """Undo one taking down."""
        batch = data.draw(st.sampled_from(sorted(self.home.view().state.revoked)))
        row = Row(seq=0, kind="activate", stage="", time=now(), targets=(batch,))
        self.home.ledger.append(lambda _: [row])

    @rule()
    def compact_ledger(self) -> None:
        """Append a row when the ledger has too many files."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ledger, "COMPACT_FILES", 1)
            self.home.ledger.append(lambda _: [Row(seq=0, kind="tag", stage="", time=now(), name="t")])

    @rule(table=st.sampled_from(["pages", "documents", "examples"]))
    def look_up(self, table: str) -> None:
        """Use the key index."""
        check_index(self.home, table)

    @invariant()
    def live_rows_are_those_of_the_model(self) -> None:
        """Compare every table with rows computed from scratch for the batches that a replay finds live."""
        view = self.home.view()
        rows = [row for row in view.state.rows if row.kind == "publish"]
        assert [row.seq for row in view.state.rows] == list(range(1, view.seq + 1))
        assert len({row.batch_id for row in rows}) == len(rows)
        live = live_batches(view.state.rows)
        assert set(view.live_ids) == live
        expected = toy_rows([row for row in rows if row.batch_id in live], self.origins)
        for table in JOINED:
            wanted = expected.get(table, TABLES[table].empty_table())
            assert canonical(view.read(table)) == canonical(wanted), table


Hub.TestCase.settings = settings(
    max_examples=6, stateful_step_count=10, deadline=None, derandomize=True, print_blob=False
)
TestHub = pytest.mark.slow(Hub.TestCase)
