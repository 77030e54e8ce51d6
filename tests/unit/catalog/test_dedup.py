"""Which document stands for which."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from catalog import schema
from catalog.dedup import Known, Version, decide, discarded

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Known(frozenset(), frozenset())


def version(name: str, url: str, text: str, day: int = 0, batch: str = "b1") -> Version:
    return Version((name, batch), url, text, DAY + timedelta(days=day), page_id=name)


def kinds(decisions: list[dict[str, object]]) -> dict[object, object]:
    return {row["record_id"]: (row["kind"], row["kept_id"]) for row in decisions}


def table(decisions: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(decisions, schema=schema.body("duplicates"))


def test_the_newest_version_of_a_url_supersedes_the_others() -> None:
    old, new = version("old", "u", "x", 0), version("new", "u", "y", 1, "b2")
    assert kinds(decide([new], [old], NOTHING)) == {"old": ("superseded", "new")}


def test_an_older_fetch_that_arrives_late_is_itself_superseded() -> None:
    late, current = version("late", "u", "x", 0, "b2"), version("current", "u", "y", 1)
    assert kinds(decide([late], [current], NOTHING)) == {"late": ("superseded", "current")}


def test_equal_texts_at_two_urls_keep_the_first_fetched() -> None:
    first, second = version("first", "u1", "x", 0), version("second", "u2", "x", 1)
    assert kinds(decide([first, second], [], NOTHING)) == {"second": ("exact", "first")}


def test_what_was_kept_stays_kept_when_an_older_copy_arrives() -> None:
    kept, older = version("kept", "u1", "x", 5), version("older", "u2", "x", 0, "b2")
    assert kinds(decide([older], [kept], NOTHING)) == {"older": ("exact", "kept")}


def test_a_text_whose_keeper_changed_comes_back() -> None:
    keeper, copy = version("keeper", "u1", "x", 0), version("copy", "u2", "x", 1)
    known = Known(frozenset(), frozenset({copy.record}))
    changed = version("changed", "u1", "y", 2, "b2")
    decisions = decide([changed], [keeper, copy], known)
    assert kinds(decisions) == {"keeper": ("superseded", "changed"), "copy": ("kept", "copy")}


def test_a_text_that_returns_is_a_record_of_its_own() -> None:
    first, second = version("x", "u", "x", 0, "b1"), version("y", "u", "y", 1, "b2")
    third = version("x", "u", "x", 2, "b3")
    known = Known(frozenset({first.record}), frozenset({first.record}))
    decisions = decide([third], [first, second], known)
    assert [(row["record_id"], row["record_batch"], row["kept_batch"]) for row in decisions] == [("y", "b2", "b3")]


def test_a_kept_row_takes_an_exact_decision_back_but_not_a_superseded_one() -> None:
    exact = decide([version("a", "u1", "x", 0), version("b", "u2", "x", 1)], [], NOTHING)
    back = [{**exact[0], "kind": "kept"}]
    assert discarded(table(exact)) == {("b", "b1")}
    assert discarded(table(exact + back)) == frozenset()
    assert discarded(table(exact + back + [{**exact[0], "kind": "superseded"}])) == {("b", "b1")}


VERSIONS = st.lists(
    st.builds(
        version,
        name=st.integers(0, 10_000).map(str),
        url=st.sampled_from(["u1", "u2", "u3"]),
        text=st.sampled_from(["x", "y", "z"]),
        day=st.integers(0, 4),
    ),
    max_size=12,
    unique_by=lambda one: one.record,
)


@given(VERSIONS, st.integers(0, 12))
def test_every_current_text_keeps_exactly_one_document(versions: list[Version], cut: int) -> None:
    """Whatever the order of arrival in two batches: each text of a current version has one reader-visible document."""
    first = versions[:cut]
    second = [replace(one, record=(one.record[0], "b2")) for one in versions[cut:]]
    one = decide(first, [], NOTHING)
    gone = frozenset((str(row["record_id"]), str(row["record_batch"])) for row in one if row["kind"] == "superseded")
    two = decide(second, first, Known(gone, discarded(table(one)))) if second else []
    skipped = discarded(table(one + two))
    everyone = [*first, *second]
    current = {}
    for item in sorted(everyone, key=lambda item: item.age):
        current[item.url] = item
    visible = [item for item in everyone if item.record not in skipped]
    assert {item.text_sha256 for item in visible} == {item.text_sha256 for item in current.values()}
    assert len(visible) == len({item.text_sha256 for item in visible})
    assert all(current[item.url] is item for item in visible)
