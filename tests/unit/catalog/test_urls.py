"""The hub spells URLs exactly as the crawler does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.urls import canonical
from ingest import urls as crawler

PARTS = st.sampled_from(
    ["http://", "HTTPS://", "ftp://", "user:pw@", "Example.COM", "bücher.example", "[::1]", ":80", ":443", "/", "//",
     "/../a", "/%7Eb", "?q=1 2", "#top", " ", "\t", "\\", "%zz", "é", ""]
)  # fmt: skip


@given(st.lists(PARTS, max_size=8).map("".join) | st.text(max_size=30))
def test_hub_and_crawler_agree_on_every_text(text: str) -> None:
    assert canonical(text) == crawler.canonical(text)


@given(st.lists(PARTS, max_size=8).map("".join))
def test_a_canonical_url_stays_as_it_is(text: str) -> None:
    url = canonical(text)
    assert url is None or canonical(url) == url


@pytest.mark.parametrize("text", ["", "example.com", "mailto:a@b", "file:///etc/passwd", "http://", "no url"])
def test_what_is_no_web_address_is_none(text: str) -> None:
    assert canonical(text) is None
