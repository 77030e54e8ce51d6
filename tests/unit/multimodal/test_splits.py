"""R10: splits follow duplicate clusters, for good."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.splits import Earlier, Place, assign, split_of

DAY = datetime(2026, 1, 1, tzinfo=UTC)
SHARES = (0.3, 0.3)
IDS = [f"d{n}" for n in range(8)]


def earlier(document: str, url: str, cluster: str = "c", split: str = "val", day: int = 0) -> Earlier:
    return Earlier(f"e-{document}-{day}", document, url, cluster, split, DAY + timedelta(days=day))


def test_shares_are_kept_over_many_clusters() -> None:
    splits = [split_of(f"cluster {n}", 0.1, 0.2) for n in range(4000)]
    assert splits.count("val") / 4000 == pytest.approx(0.1, abs=0.02)
    assert splits.count("test") / 4000 == pytest.approx(0.2, abs=0.02)


def test_without_held_out_shares_everything_trains() -> None:
    assert {split_of(f"cluster {n}", 0, 0) for n in range(100)} == {"train"}


def test_a_first_document_is_new_and_named_after_its_url() -> None:
    (one,), (other,) = (assign({name: "u"}, [], [], SHARES).values() for name in ("d1", "d2"))
    assert one == other
    assert one.change == "new"
    assert one.split == split_of(one.cluster_id, *SHARES)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ([earlier("d1", "u")], "refreshed"),
        ([earlier("d0", "u")], "revised"),
        ([earlier("d1", "u", day=0), earlier("d0", "u", day=1)], "revised"),
        ([earlier("d0", "u", day=0), earlier("d1", "u", day=1)], "refreshed"),
        ([earlier("d0", "elsewhere")], "new"),
    ],
)
def test_change_compares_with_the_last_example_of_the_url(before: list[Earlier], change: str) -> None:
    assert assign({"d1": "u"}, [], before, SHARES)["d1"].change == change


def test_a_new_version_inherits_cluster_and_split() -> None:
    place = assign({"d1": "u"}, [], [earlier("d0", "u", "old", "test")], SHARES)["d1"]
    assert place == Place("old", "test", "revised")


def test_a_copy_that_comes_back_inherits_from_what_stood_for_it() -> None:
    place = assign({"copy": "u2"}, [("copy", "kept")], [earlier("kept", "u1", "old", "val")], SHARES)["copy"]
    assert place == Place("old", "val", "new")


def test_where_clusters_join_the_oldest_example_decides() -> None:
    known = [earlier("a", "u1", "late", "test", day=2), earlier("b", "u2", "early", "val", day=1)]
    assert assign({"d": "u3"}, [("d", "a"), ("a", "b")], known, SHARES)["d"].cluster_id == "early"


@given(
    urls=st.dictionaries(st.sampled_from(IDS), st.sampled_from(["u0", "u1", "u2", "u3"]), min_size=1),
    links=st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=8),
    random=st.randoms(use_true_random=False),
)
def test_no_cluster_spans_splits_and_order_does_not_matter(
    urls: dict[str, str], links: list[tuple[str, str]], random: object
) -> None:
    places = assign(urls, links, [], SHARES)
    splits: dict[str, set[str]] = {}
    for place in places.values():
        splits.setdefault(place.cluster_id, set()).add(place.split)
    assert all(len(found) == 1 for found in splits.values())
    for one, other in links:
        if one in urls and other in urls:
            assert places[one].cluster_id == places[other].cluster_id
    shuffled, swapped = list(urls.items()), [(other, one) for one, other in reversed(links)]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign(dict(shuffled), swapped, [], SHARES) == places


@given(
    rounds=st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(IDS), st.just(""), min_size=1, max_size=4),
            st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_url_keeps_its_split_whatever_comes_later(
    rounds: list[tuple[dict[str, str], list[tuple[str, str]]]],
) -> None:
    known: list[Earlier] = []
    links: list[tuple[str, str]] = []
    for day, (documents, found) in enumerate(rounds):
        alone = {name: f"u-{name}" for name in documents}
        fused = {item.document_id for item in known}
        # two documents that were fused apart may be linked later; then each keeps the older of their splits
        links += [pair for pair in found if not set(pair) <= fused]
        places = assign(alone, links, known, SHARES)
        for name, place in places.items():
            before = [item for item in known if item.document_id == name]
            if before and not any(name in pair for pair in links):
                assert {item.split for item in before} == {place.split}
            known.append(earlier(name, f"u-{name}", place.cluster_id, place.split, day))
    by_cluster: dict[str, set[str]] = {}
    for item in known:
        by_cluster.setdefault(item.cluster_id, set()).add(item.split)
    assert all(len(splits) == 1 for splits in by_cluster.values())
