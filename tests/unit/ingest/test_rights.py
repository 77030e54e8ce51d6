"""What sites say about the use of their content: read, stored, read back, judged again under other settings."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.fetch import Response
from ingest.links import read_page, signals_of
from ingest.rights import (
    Signal,
    about_images,
    best_licence,
    describe,
    directives,
    json_ld_licences,
    licence,
    opt_out,
    read,
    robots_tags,
    site_rules,
    site_signals,
    write,
)
from ingest.settings import OPT_OUTS

URL = "http://mill.example/a/page.html"


def said(html: str, *headers: tuple[str, str]) -> list[Signal]:
    response = Response(URL, 200, (("Content-Type", "text/html"), *headers), html.encode())
    return signals_of(response, read_page(response, "headrace"))


@pytest.mark.parametrize(
    ("fields", "ours", "theirs"),
    [
        (["noai"], {"noai"}, {"noai"}),
        (["NoAI, noindex"], {"noai", "noindex"}, {"noai", "noindex"}),
        (["gptbot: noai, noimageai"], set(), {"noai", "noimageai"}),  # the name speaks for its whole field
        (["gptbot: noai", "noindex"], {"noindex"}, {"noai", "noindex"}),
        (["noindex, gptbot: noai"], {"noindex"}, {"noindex", "noai"}),
        (["headrace: noai", "gptbot: none"], {"noai"}, {"none"}),
        (["max-snippet: 3; noai"], {"max-snippet: 3", "noai"}, {"max-snippet: 3", "noai"}),
        (["unavailable_after: 25 Jun 2030 15:00:00 GMT"], {"unavailable_after: 25 jun 2030 15:00:00 gmt"}, None),
        ([": , ;"], set(), set()),
    ],
)
def test_x_robots_tag(fields: list[str], ours: set[str], theirs: set[str] | None) -> None:
    signals = robots_tags(fields)
    assert directives(signals, "headrace") == ours
    assert theirs is None or directives(signals, "GPTBot") == theirs


def test_meta_of_everyone_of_one_agent_and_of_something_else() -> None:
    html = """<meta name="robots" content="noai"><meta name="GPTBot" content="noindex, noimageai">
    <meta name="description" content="noai is a word"><meta name="keywords" content="mill, race">"""
    signals = said(html)
    assert directives(signals, "headrace") == {"noai"}
    assert directives(signals, "gptbot") == {"noai", "noindex", "noimageai"}
    assert len(signals) == 3


@pytest.mark.parametrize(
    ("html", "header", "site", "reserved"),
    [
        ("", None, None, None),
        ("", "1", None, "tdm-header"),
        ("", "2", None, None),  # neither 0 nor 1
        ('<meta name="tdm-reservation" content="1">', None, None, "tdm-meta"),
        ('<meta name="tdm-reservation" content="1">', "0", "0", "tdm-meta"),  # the nearest to the content wins
        ('<meta name="tdm-reservation" content="0">', "1", "1", None),
        ("", "0", "1", None),
        ("", None, "1", "tdmrep.json"),
    ],
)
def test_tdm_reservation_by_its_nearest_source(
    html: str, header: str | None, site: str | None, reserved: str | None
) -> None:
    signals = said(html, *([("TDM-Reservation", header)] if header else []))
    rules = site_rules(json.dumps([{"location": "/a/", "tdm-reservation": int(site)}]).encode(), URL) if site else []
    signal = opt_out(write([*site_signals(rules, URL), *signals]), "html", OPT_OUTS, "headrace")
    assert (signal.by if signal else None) == reserved


def test_tdmrep_json_by_its_longest_location() -> None:
    rules = site_rules(
        json.dumps(
            [
                {"location": "/", "tdm-reservation": 1, "tdm-policy": "/policy.json"},
                {"location": "/open/*.png$", "tdm-reservation": 0},
                {"location": "/open/", "tdm-reservation": 1},
                {"location": 7, "tdm-reservation": 1},
                {"location": "/bad", "tdm-reservation": "yes"},
                "nonsense",
            ]
        ).encode(),
        "http://h/.well-known/tdmrep.json",
    )
    assert site_signals(rules, "http://h/x") == [Signal("tdmrep.json", "tdm-reservation=1", url="http://h/policy.json")]
    assert [one.says for one in site_signals(rules, "http://h/open/a.png")] == ["tdm-reservation=0"]
    assert [one.says for one in site_signals(rules, "http://h/open/a.png?b")] == ["tdm-reservation=1"]
    assert site_rules(b"<html>not found", URL) == site_rules(b"{}", URL) == site_rules(b"[" * 100_000, URL) == []


@pytest.mark.parametrize(
    ("url", "spdx", "plain"),
    [
        ("http://creativecommons.org/licenses/by/4.0", "CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/"),
        (
            "https://www.creativecommons.org/licenses/by-nc-sa/3.0/de/deed.de",
            "CC-BY-NC-SA-3.0",
            "https://creativecommons.org/licenses/by-nc-sa/3.0/",
        ),
        (
            "https://creativecommons.org/publicdomain/zero/1.0/",
            "CC0-1.0",
            "https://creativecommons.org/publicdomain/zero/1.0/",
        ),
        ("/terms", "", "http://mill.example/terms"),
    ],
)
def test_licences(url: str, spdx: str, plain: str) -> None:
    assert licence("link", url, URL) == [Signal("link", "licence", url=plain, spdx=spdx)]


def test_licences_are_found_in_header_markup_and_json_ld() -> None:
    html = """<a rel="nofollow license" href="/by">CC</a><script type="application/ld+json">
    {"@graph": [{"@type": "NewsArticle", "license": {"@id": "https://creativecommons.org/licenses/by/4.0/"},
    "image": {"@type": "ImageObject", "license": "https://stock.example/paid"}}]}</script>"""
    signals = said(html, ("Link", '<http://h/style>; rel="stylesheet", </sa>; rel="license"'))
    assert [(one.by, one.url) for one in signals] == [
        ("link-header", "http://mill.example/sa"),
        ("link", "http://mill.example/by"),
        ("json-ld", "https://creativecommons.org/licenses/by/4.0/"),
    ]
    assert best_licence(signals) == "http://mill.example/sa"
    assert json_ld_licences("{broken", URL) == json_ld_licences("[" * 100_000, URL) == []
    assert json_ld_licences('[{"license": ["/a", 3, null]}, 7]', URL)[0].url == "http://mill.example/a"


def test_what_is_stored_is_judged_again_under_other_settings() -> None:
    rights = write(said('<meta name="robots" content="noarchive"><meta name="gptbot" content="noai">'))
    assert opt_out(rights, "html", OPT_OUTS, "headrace") is None
    assert opt_out(rights, "html", OPT_OUTS, "GPTBot") == Signal("meta", "noai", "gptbot")
    assert opt_out(rights, "html", ("noarchive",), "headrace") == Signal("meta", "noarchive")
    assert opt_out(rights, "html", (), "gptbot") is None


@pytest.mark.parametrize(
    ("rights", "kind", "signal"),
    [
        (None, "html", None),
        ("noai, noindex", "html", "noai"),
        ("noimageai, tdm-reservation=0", "html", None),
        ("noimageai", "image", "noimageai"),
        ("tdm-policy=http://h/p, tdm-reservation=1", "audio", "tdm-reservation=1"),
    ],
)
def test_rows_from_before_json_are_read(rights: str | None, kind: str, signal: str | None) -> None:
    found = opt_out(rights, kind, OPT_OUTS, "headrace")
    assert (describe(found) if found else None) == signal


def test_a_page_speaks_for_its_pictures_with_its_own_words_alone() -> None:
    signals = said('<meta name="robots" content="noimageai, noindex">', ("TDM-Reservation", "1"))
    passed_on = about_images(signals, URL)
    assert passed_on == [Signal("page", "noimageai", url=URL)]  # TDMRep: markup and headers do not cover what is linked
    assert opt_out(write(passed_on), "image", OPT_OUTS, "headrace") == passed_on[0]
    assert describe(passed_on[0]) == f"noimageai (page {URL})"


@given(st.lists(st.text(max_size=40), max_size=5), st.text(max_size=200))
def test_whatever_is_said_can_be_stored_and_read_back(fields: list[str], html: str) -> None:
    signals = [*robots_tags(fields), *said(f'<meta name="robots" content="{html}">')]
    stored = write(signals)
    assert write(read(stored)) == stored
    assert len(stored) < 64 * 1024


def test_a_flood_of_signals_is_cut() -> None:
    flood = robots_tags([", ".join(f"word{number}" for number in range(5000)), "x" * 100_000])
    assert len(read(write(flood))) == 64
    assert len(write(robots_tags(["x" * 100_000]))) < 300
