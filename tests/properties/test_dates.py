"""Whatever a list or a row gives for a date, it is a date or none, and the rest of its entry comes in."""

import json
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.feeds import read_feed
from ingest.fetch import Response
from ingest.hints import day_of, parse_time
from ingest.sitemaps import read_sitemap

YEARS = st.one_of(st.integers(-1, 1), st.integers(9998, 10_001), st.integers())
SMALL = st.integers(-1, 61)
OFFSETS = st.one_of(st.sampled_from(["Z", "", " GMT", "+14:00", "-14:00", "+99:99"]), st.integers().map("{:+}".format))
ISO = st.builds("{:04}-{:02}-{:02}T{:02}:{:02}:00{}".format, YEARS, SMALL, SMALL, SMALL, SMALL, OFFSETS)
RFC = st.builds("Fri, {:02} Jan {:04} {:02}:{:02}:00 {}".format, SMALL, YEARS, SMALL, SMALL, OFFSETS)
CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
TEXTS = st.one_of(ISO, RFC, st.integers().map(str), st.text(CHARACTERS, max_size=30))
RSS = '<rss version="2.0"><channel><item><link>http://h/a</link><{0}>{1}</{0}></item></channel></rss>'
ATOM = '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="http://h/a"/><{0}>{1}</{0}></entry></feed>'
SITEMAP = "<urlset><url><loc>http://h/a</loc><lastmod>{0}</lastmod></url></urlset>"


@given(st.one_of(TEXTS, st.integers(), st.floats(), st.datetimes(), st.dates(), st.none()))
@example(10**400)
@example(-(10**400))
@example("Fri, 02 Jan 2026 03:04:05 +99999999999999999")
@example(datetime(1, 1, 1, tzinfo=UTC))
def test_any_value_is_a_day_or_none(value: object) -> None:
    moment = parse_time(value)
    assert (day_of(value) == "") == (moment is None)
    if moment is not None:
        assert isinstance(moment.timestamp(), float)


@settings(max_examples=50, deadline=None)
@given(TEXTS)
@example("0000-01-01T00:00:00Z")
@example("0001-01-01T00:00:00+14:00")
@example("Fri, 02 Jan 2026 03:04:05 +99999999999999999")
def test_no_date_costs_an_entry(text: str) -> None:
    for markup in (RSS.format("pubDate", escape(text)), ATOM.format("updated", escape(text))):
        assert read_feed(Response("http://h/f", 200, (), markup.encode())).pages == ["http://h/a"]
    sitemap = SITEMAP.format(escape(text))
    assert read_sitemap(Response("http://h/s", 200, (), sitemap.encode()), 1 << 20).pages == ["http://h/a"]
    dates = {"date_published": text, "date_modified": text}
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": [{"url": "http://h/a", **dates}]}
    assert read_feed(Response("http://h/f", 200, (), json.dumps(feed).encode())).pages == ["http://h/a"]


@pytest.mark.parametrize("text", ["0000-01-01T00:00:00Z", "Fri, 02 Jan 2026 03:04:05 +99999999999999999"])
def test_an_impossible_date_is_none(text: str) -> None:
    assert day_of(text) == ""
