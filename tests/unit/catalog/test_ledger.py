"""The ledger: numbered rows appended once, and what is live by activation, revocation and coverage."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog import ledger
from catalog.errors import CommitConflict
from catalog.home import Home
from catalog.ledger import InputCounts, Ledger, Row, State, now
from catalog.settings import CatalogSettings


class Book:
    """Writes ledger rows by short names."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def _add(self, **fields: object) -> "Book":
        self.rows.append(Row(seq=len(self.rows) + 1, time=now(), **fields))  # type: ignore[arg-type]
        return self

    def publish(self, batch: str, recipe: str, *origins: str, stage: str = "extract") -> "Book":
        inputs = tuple(InputCounts(f"in-{origin}", 1, 1, 0) for origin in origins)
        return self._add(
            kind="publish", stage=stage, batch_id=batch, settings_hash=recipe, origins=origins, inputs=inputs
        )

    def activate(self, recipe: str, stage: str = "extract") -> "Book":
        return self._add(kind="activate", stage=stage, settings_hash=recipe)

    def revoke(self, *batches: str) -> "Book":
        return self._add(kind="revoke", stage="", targets=batches)

    def restore(self, *batches: str) -> "Book":
        return self._add(kind="activate", stage="", targets=batches)

    @property
    def state(self) -> State:
        return State(self.rows)

    @property
    def live(self) -> set[str]:
        return set(self.state.live)


def test_an_empty_ledger() -> None:
    state = State([])
    assert (state.last_seq, state.live, state.published, state.active_recipe("extract")) == (0, {}, {}, None)


def test_published_batches_are_live() -> None:
    assert Book().activate("A").publish("a1", "A", "1").publish("a2", "A", "2").live == {"a1", "a2"}


def test_origins_are_live_without_activation() -> None:
    assert Book().publish("o1", "origin", "o1", stage="crawl").live == {"o1"}


def test_new_settings_take_over_one_input_at_a_time_and_leave_no_hole() -> None:
    book = Book().activate("A").publish("a1", "A", "1").publish("a2", "A", "2").activate("B")
    assert book.live == {"a1", "a2"}
    book.publish("b1", "B", "1")
    assert book.live == {"b1", "a2"}
    book.publish("b2", "B", "2")
    assert book.live == {"b1", "b2"}


def test_going_back_to_old_settings_brings_their_rows_back_without_publishing() -> None:
    book = Book().activate("A").publish("a1", "A", "1").activate("B").publish("b1", "B", "1").activate("A")
    assert book.live == {"a1"}
    assert book.state.active_recipe("extract") == "A"
    book.activate("B")
    assert book.live == {"b1"}


def test_what_only_the_other_settings_know_stays() -> None:
    book = Book().activate("A").publish("a1", "A", "1").activate("B").publish("b1", "B", "1").publish("b2", "B", "2")
    assert book.activate("A").live == {"a1", "b2"}


def test_stages_do_not_disturb_each_other() -> None:
    book = Book().activate("A").publish("a1", "A", "1").activate("A", "embed").publish("e1", "A", "1", stage="embed")
    assert book.activate("B", "embed").publish("e2", "B", "1", stage="embed").live == {"a1", "e2"}


def test_a_joined_batch_stays_until_all_of_its_origins_are_covered_anew() -> None:
    book = Book().activate("A").publish("a12", "A", "1", "2").activate("B").publish("b1", "B", "1")
    assert "a12" in book.live  # origin 2 has nothing else
    assert book.publish("b2", "B", "2").live == {"b1", "b2"}


def test_joined_batches_of_one_recipe_may_overlap_in_origins() -> None:
    assert Book().activate("A").publish("x", "A", "1").publish("y", "A", "1", "2").live == {"x", "y"}


def test_revoked_batches_are_off_until_activated() -> None:
    book = Book().activate("A").publish("a1", "A", "1").publish("a2", "A", "2").revoke("a1")
    assert book.live == {"a2"}
    book.activate("A")
    assert book.live == {"a2"}, "activating a recipe must not bring revoked rows back"
    book.publish("b1", "B", "1")
    assert book.restore("a1").live == {"a1", "a2"}
    assert book.revoke("a1", "a2").live == {"b1"}


def test_revoking_the_newest_recipe_uncovers_the_one_before() -> None:
    book = Book().activate("A").publish("a1", "A", "1").activate("B").publish("b1", "B", "1").revoke("b1")
    assert book.live == {"a1"}


def test_consumed_counts_a_recipe_with_what_was_revoked_and_forever_without() -> None:
    book = Book().publish("a1", "A", "1").publish("b2", "B", "2").revoke("a1")
    assert book.state.consumed("extract", "A") == {"in-1"}
    assert book.state.consumed("extract", "B") == {"in-2"}
    assert book.state.consumed("extract", None) == {"in-2"}
    assert book.state.consumed("embed", None) == set()


# ── on disk ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(CatalogSettings(root=tmp_path)) as opened:
        yield opened


def tag(name: str) -> Row:
    return Row(seq=0, kind="tag", stage="", time=now(), name=name)


def test_rows_come_back_as_they_were(home: Home) -> None:
    row = Row(
        seq=0,
        kind="publish",
        stage="extract",
        time=now(),
        batch_id="b",
        settings_hash="A",
        settings='{"a": "ä"}',
        inputs=(InputCounts("i", 10, 4, 3, 2, 1),),
        origins=("o1", "o2"),
        targets=("t",),
        name="n",
        outputs={"documents": 4},
        rejects={"timeout": 3},
        code_version="1",
    )
    (written,) = home.ledger.append(lambda _: [row])
    assert written.seq == 1
    assert home.ledger.refresh().rows == [written]
    assert Ledger(home.pins).refresh().rows == [written]


def test_rows_are_numbered_on_across_handles(home: Home) -> None:
    other = Ledger(home.pins)
    home.ledger.append(lambda _: [tag("a"), tag("b")])
    other.append(lambda state: [tag(f"after {state.last_seq}")])
    home.ledger.append(lambda state: [tag(f"after {state.last_seq}")])
    assert [(row.seq, row.name) for row in other.refresh().rows] == [(1, "a"), (2, "b"), (3, "after 2"), (4, "after 3")]


def test_proposing_nothing_commits_nothing(home: Home) -> None:
    home.ledger.append(lambda _: [tag("a")])
    before = home.store.load("batches").metadata_location
    assert home.ledger.append(lambda _: []) == []
    assert home.store.load("batches").metadata_location == before


def test_a_proposal_may_refuse(home: Home) -> None:
    def refuse(_: State) -> list[Row]:
        raise CommitConflict("taken")

    with pytest.raises(CommitConflict, match="taken"):
        home.ledger.append(refuse)
    assert home.ledger.refresh().rows == []


def test_a_writer_that_comes_between_is_seen_before_committing(home: Home) -> None:
    other = Ledger(home.pins)
    proposals: list[int] = []

    def propose(state: State) -> list[Row]:
        if not proposals:
            other.append(lambda _: [tag("between")])
        proposals.append(state.last_seq)
        return [tag("mine")]

    home.ledger.append(propose)
    assert proposals == [0, 1]
    assert [(row.seq, row.name) for row in home.ledger.refresh().rows] == [(1, "between"), (2, "mine")]


def test_many_small_files_are_compacted_into_one_and_nothing_changes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "COMPACT_FILES", 5)
    reader = Ledger(home.pins)
    for k in range(17):
        home.ledger.append(lambda _, k=k: [tag(str(k))])
        assert [row.name for row in reader.refresh().rows] == [str(i) for i in range(k + 1)]
        assert [row.seq for row in home.ledger.refresh().rows] == list(range(1, k + 2))
    assert len(home.store.plan(home.store.load("batches"), None)) <= 6
    assert Ledger(home.pins).refresh().rows == home.ledger.refresh().rows


def test_compaction_gives_way_to_a_writer_that_comes_between(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "COMPACT_FILES", 2)
    other = Ledger(home.pins)
    for k in range(3):
        home.ledger.append(lambda _, k=k: [tag(str(k))])
    between = iter([True])

    def propose(_: State) -> list[Row]:
        if next(between, False):
            other.append(lambda _: [tag("between")])
        return [tag("mine")]

    home.ledger.append(propose)
    assert [row.name for row in home.ledger.refresh().rows] == ["0", "1", "2", "between", "mine"]
