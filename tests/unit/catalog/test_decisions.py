"""Which document stands for which."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from catalog import schema, sql
from catalog.decisions import Alike, Known, Match, Verdict, Version, decide, discarded, known

DAY = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Known()


def version(name: str, url: str, text: str, day: int = 0, batch: str = "b1") -> Version:
    return Version((name, batch), url, text, DAY + timedelta(days=day), page_id=name)


def kinds(decisions: list[dict[str, object]]) -> dict[object, object]:
    return {row["record_id"]: (row["kind"], row["kept_id"]) for row in decisions}


def dropped(record: Version, *kept: Version) -> Known:
    """What is known once a record was dropped for others."""
    return Known(discarded={record.record: frozenset(item.record for item in kept)})


def likes(*pairs: tuple[str, str, float]) -> Alike:
    """Texts that are alike."""
    alike = Alike()
    for one, other, score in pairs:
        alike.add(one, other, Match("minhash", "minhash", score, 0.5))
    return alike


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
    changed = version("changed", "u1", "y", 2, "b2")
    decisions = decide([changed], [keeper, copy], dropped(copy, keeper))
    assert kinds(decisions) == {"keeper": ("superseded", "changed"), "copy": ("kept", "copy")}


def test_a_text_that_returns_is_a_record_of_its_own() -> None:
    first, second = version("x", "u", "x", 0, "b1"), version("y", "u", "y", 1, "b2")
    third = version("x", "u", "x", 2, "b3")
    decisions = decide([third], [first, second], Known(frozenset({first.record})))
    assert [(row["record_id"], row["record_batch"], row["kept_batch"]) for row in decisions] == [("y", "b2", "b3")]


def test_a_kept_row_takes_an_exact_decision_back_but_not_a_superseded_one() -> None:
    exact = decide([version("a", "u1", "x", 0), version("b", "u2", "x", 1)], [], NOTHING)
    back = [{**exact[0], "kind": "kept"}]
    assert discarded(table(exact)) == {("b", "b1")}
    assert discarded(table(exact + back)) == frozenset()
    assert discarded(table(exact + back + [{**exact[0], "kind": "superseded"}])) == {("b", "b1")}


def test_a_near_duplicate_names_the_most_similar_kept_document() -> None:
    kept = [version("a", "u1", "x", 0), version("b", "u2", "y", 1)]
    near = version("c", "u3", "z", 2, "b2")
    (row,) = decide([near], kept, NOTHING, likes(("x", "z", 0.6), ("y", "z", 0.8)))
    assert (row["kind"], row["kept_id"], row["score"], row["threshold"], row["method"]) == (
        "minhash", "b", 0.8, 0.5, "minhash",
    )  # fmt: skip


def test_no_chain_goes_through_a_document_that_was_dropped() -> None:
    chain = [version(name, f"u{day}", name, day) for day, name in enumerate("abcd")]
    decisions = decide(chain, [], NOTHING, likes(("a", "b", 0.7), ("b", "c", 0.9), ("c", "d", 0.9)))
    assert kinds(decisions) == {"b": ("minhash", "a"), "d": ("minhash", "c")}


def test_a_copy_of_a_near_duplicate_names_what_is_kept() -> None:
    kept, near, copy = version("a", "u1", "x", 0), version("b", "u2", "y", 1, "b2"), version("c", "u3", "y", 2, "b2")
    alike = likes(("x", "y", 0.7))
    assert kinds(decide([near, copy], [kept], NOTHING, alike)) == {"b": ("minhash", "a"), "c": ("minhash", "a")}
    late = version("d", "u4", "y", 0, "b3")
    assert kinds(decide([late], [kept, near], dropped(near, kept), alike)) == {"d": ("minhash", "a")}


def test_near_duplicates_of_a_changed_document_are_judged_anew() -> None:
    keeper, one, two = (version(name, f"u{day}", name, day) for day, name in enumerate("abc"))
    before = Known(discarded={item.record: frozenset({keeper.record}) for item in (one, two)})
    changed = version("new", "u0", "other", 5, "b2")
    decisions = decide([changed], [keeper, one, two], before, likes(("b", "c", 0.8)))
    assert kinds(decisions) == {"a": ("superseded", "new"), "b": ("kept", "b"), "c": ("minhash", "b")}
    apart = decide([changed], [keeper, one, two], before)
    assert kinds(apart) == {"a": ("superseded", "new"), "b": ("kept", "b"), "c": ("kept", "c")}
    both = known(table([*decisions, {**decisions[2], "record_id": "c", "kept_id": "a", "kept_batch": "b1"}]))
    assert both.discarded == {two.record: frozenset({one.record, keeper.record})}


def test_documents_dropped_for_a_lost_batch_come_back() -> None:
    copy = version("b", "u2", "x", 1)
    lost = Known(discarded={copy.record: frozenset({("a", "off")})}, lost=frozenset({("a", "off")}))
    assert kinds(decide([], [copy], lost)) == {"b": ("kept", "b")}


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
    two = decide(second, first, known(table(one))) if second else []
    skipped = discarded(table(one + two))
    everyone = [*first, *second]
    current = {}
    for item in sorted(everyone, key=lambda item: item.age):
        current[item.url] = item
    visible = [item for item in everyone if item.record not in skipped]
    assert {item.content for item in visible} == {item.content for item in current.values()}
    assert len(visible) == len({item.content for item in visible})
    assert all(current[item.url] is item for item in visible)


@given(VERSIONS, st.integers(0, 12), st.sets(st.sampled_from(["xy", "yz", "xz"])))
def test_every_decision_names_a_kept_document_that_it_was_compared_with(
    versions: list[Version], cut: int, close: set[str]
) -> None:
    """After two batches, each dropped document still names one that readers see and that equals it or is alike."""
    alike = likes(*((pair[0], pair[1], 0.7) for pair in close))
    first = versions[:cut]
    second = [replace(one, record=(one.record[0], "b2")) for one in versions[cut:]]
    one = decide(first, [], NOTHING, alike)
    two = decide(second, first, known(table(one)), alike) if second else []
    skipped = discarded(table(one + two))
    by_record = {item.record: item for item in [*first, *second]}
    superseded = known(table(one + two)).superseded
    texts = {item.record: item.content for item in by_record.values()}
    for record in skipped - superseded:
        rows = [row for row in one + two if (row["record_id"], row["record_batch"]) == record]
        kept = {(row["kept_id"], row["kept_batch"]) for row in rows} - skipped
        assert kept, f"{record} names nothing that is kept"
        assert all({texts[record], texts[item]} in [{texts[record]}, *map(set, close)] for item in kept)
    visible = [texts[record] for record in by_record.keys() - skipped]
    assert len(visible) == len(set(visible))


DUPLICATES = st.lists(
    st.builds(
        dict,
        record_id=st.sampled_from("ab"),
        record_batch=st.sampled_from(["b1", "b2"]),
        kept_id=st.sampled_from("xy"),
        kind=st.sampled_from(["superseded", "exact", "semantic", "kept"]),
        method=st.sampled_from(["sha256", "review", None]),
        state=st.sampled_from(["decided", "proposed", None]),
    ),
    max_size=6,
)
SAID = st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), st.sampled_from(list(Verdict)))


@given(DUPLICATES, SAID)
def test_sql_sets_aside_what_the_code_does(rows: list[dict[str, str | None]], said: dict[tuple[str, str], str]) -> None:
    """The view `discarded` of `headrace sql` and of exports says the same as every other reader."""
    duplicates = pa.Table.from_pylist([{"batch_id": "d", **row} for row in rows], schema.TABLES["duplicates"])
    reviews = [
        {"batch_id": "r", "review_id": f"{one}{other}", "subject_id": one, "other_id": other, "verdict": verdict}
        for (one, other), verdict in said.items()
    ]
    tables = {
        "duplicates": duplicates,
        "reviews": pa.Table.from_pylist(reviews, schema.TABLES["reviews"]),
        "live": pa.table({"batch_id": ["d", "r"], "seq": [1, 2]}),
    }
    with duckdb.connect() as db:
        for name, table in tables.items():
            db.register(name, table)
        found = db.execute(sql.DERIVED["discarded"]).fetchall()
    assert frozenset(found) == discarded(duplicates, said)
    assert len(found) == len(set(found))
