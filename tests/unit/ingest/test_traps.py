"""Traps: families of URLs without end are named, ordinary URLs are not."""

from datetime import date

import pytest

from ingest.settings import TrapSettings
from ingest.traps import family_of, trap_reason

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h/" + "a" * 3000, "3009 characters"),
        ("http://h/" + "/".join(f"s{n}" for n in range(30)), "30 path segments"),
        ("http://h/" + "more/" * 5, "'more' occurs 5 times"),
        ("http://h/a/b/a/b/a/b/a/b", "occurs 4 times"),
        ("http://h/list?" + "&".join(f"p{n}=1" for n in range(11)), "11 query parameters"),
        ("http://h/list?c=1&c=2&c=3&c=4", "'c' occurs 4 times"),
        ("http://h/calendar/2031/05", "2031-05 lies 54 months ahead"),
        ("http://h/events?month=2019-02", "2019-02 lies 93 months back"),
        ("http://h/?year=2040&month=3", "2040-03"),
        ("http://h/archive/2099-01-01", "2099-01"),
    ],
)
def test_traps_are_named(url: str, words: str) -> None:
    assert words in (trap_reason(url, TrapSettings(), TODAY) or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://h/2026/11/21/a-story?id=7", "http://h/a/a/a/b", "http://h/1998/03/old-news", "http://h/item/20310599",
        "http://h/events/2026/12", "http://h/calendar", "http://h/standards/iso-2105-1", "http://h/p?year=2025",
    ],
)  # fmt: skip
def test_ordinary_urls_are_no_traps(url: str) -> None:
    assert trap_reason(url, TrapSettings(), TODAY) is None


def test_a_family_has_one_path_and_the_same_parameters() -> None:
    assert family_of("http://h/shop?size=1&colour=red") == family_of("http://h/shop?colour=blue&size=9")
    assert family_of("http://h/shop?size=1") is None
    assert family_of("http://h/shop") is None
