"""robots.txt by RFC 9309: the undisputed behaviours that Google's parser is tested for, and the line that decides."""

import re

import pytest
import robots as robotspy
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from protego import Protego

from ingest.robots import MAX_BYTES, Rule, normalise, parse_robots

SITE = "http://foo.bar"
TWO_GROUPS = "user-agent: FooBot\ndisallow: /x\nuser-agent: B\ndisallow: /\nuser-agent: FooBot\ndisallow: /z\n"


def allows(text: str, path: str, agent: str = "FooBot") -> bool:
    return parse_robots(text.encode(), agent).decide(f"{SITE}{path}").allowed


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        # lines: names in any case, a missing colon forgiven, unknown names ignored, any line ending, a byte order mark
        ("user-agent: FooBot\ndisallow: /\n", "/x/y", False),
        ("foo: FooBot\nbar: /\n", "/x/y", True),
        ("user-agent FooBot\ndisallow /\n", "/x/y", False),
        ("USER-AGENT: FooBot\nDIsALLow: /\nALLOW: /x/\n", "/x/y", True),
        ("USER-AGENT: FooBot\nDIsALLow: /\nALLOW: /x/\n", "/a/b", False),
        ("User-Agent: FooBot\rDisallow: /x\r\rAllow: /y\r", "/x", False),
        ("User-Agent: FooBot\r\nDisallow: /x\r\n", "/x", False),
        ("\ufeffUser-Agent: FooBot\nDisallow: /x\n", "/x", False),
        ("User-agent: FooBot\nDisalow: /x\n", "/x", False),
        # agents: product tokens in any case, cut at the first character that no token holds
        ("User-Agent: FOOBOT BAR\nDisallow: /\n", "/x", False),
        ("User-Agent: foobot/2.1\nDisallow: /\n", "/x", False),
        ("User-Agent: foobot*\nDisallow: /\n", "/x", False),
        ("User-Agent: foo\nDisallow: /\n", "/x", True),
        ("User-Agent: foobot-news\nDisallow: /\n", "/x", True),
        # groups: everyone's rules only where none is ours; ours are joined; rules before any agent are nobody's
        ("user-agent: *\ndisallow: /x/\nuser-agent: FooBot\ndisallow: /y/\n", "/x/p", True),
        ("user-agent: *\ndisallow: /x/\nuser-agent: FooBot\ndisallow: /y/\n", "/y/p", False),
        ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "/x", False),
        ("user-agent: BarBot\ndisallow: /\n", "/x", True),
        ("user-agent: BarBot\nuser-agent: FooBot\ndisallow: /x\n", "/x", False),
        ("disallow: /x\nuser-agent: FooBot\ndisallow: /y\n", "/x", True),
        (TWO_GROUPS, "/z", False),
        (TWO_GROUPS, "/x", False),
        (TWO_GROUPS, "/w", True),
        ("user-agent: FooBot\nsitemap: /s.xml\nuser-agent: *\ndisallow: /\n", "/x", False),
        ("user-agent: * \ndisallow: /\n", "/x", False),
        # matching: case counts, the longest pattern wins, allow wins between equals, an empty one says nothing
        ("user-agent: FooBot\ndisallow: /X/\n", "/x/y", True),
        ("user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/\n", "/x/page.html", False),
        ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "/x/page.html", True),
        ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "/x/", False),
        ("user-agent: FooBot\ndisallow: /\nallow: /\n", "/x", True),
        ("user-agent: FooBot\ndisallow:\nallow:\n", "/x", True),
        ("user-agent: FooBot\nallow: /page\ndisallow: /*.html\n", "/page.html", False),
        ("user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html\n", "/x/page.html", True),
        # special characters: # begins a comment, $ ends the pattern, * is anything
        ("user-agent: FooBot\nDisallow: /foo/quz#qux\nAllow: /\n", "/foo/quz", False),
        ("user-agent: FooBot\n# Disallow: /\n", "/x", True),
        ("user-agent: FooBot\nDisallow: /foo/bar$\n", "/foo/bar", False),
        ("user-agent: FooBot\nDisallow: /foo/bar$\n", "/foo/bar/", True),
        ("user-agent: FooBot\nDisallow: /foo/*/qux\n", "/foo/a/b/qux", False),
        ("user-agent: FooBot\nDisallow: /foo/*/qux\n", "/foo/qux", True),
        ("user-agent: FooBot\nDisallow: /*.php$\n", "/a.php?x", True),
        ("user-agent: FooBot\nDisallow: /*.php$\n", "/a.php/b.php", False),
        ("user-agent: FooBot\nDisallow: *a*a*a*a*b$\n", "/" + "a" * 2000, True),
        # encoding: octets beyond ASCII are compared as percent escapes, escapes in any case, unreserved ones decoded
        ("user-agent: FooBot\ndisallow: /\nallow: /foo/bar/ツ\n", "/foo/bar/%E3%83%84", True),
        ("user-agent: FooBot\ndisallow: /\nallow: /foo/bar/%e3%83%84\n", "/foo/bar/%E3%83%84", True),
        ("user-agent: FooBot\ndisallow: /\nallow: /f?q=http://a.b?c&d\n", "/f?q=http://a.b?c&d", True),
        ("user-agent: FooBot\ndisallow: /admin\n", "/%61dmin", False),
        ("user-agent: FooBot\ndisallow: /a%2Fb\n", "/a/b", True),
        # and robots.txt itself may always be read
        ("user-agent: *\ndisallow: /\n", "/robots.txt", True),
        ("", "/x", True),
    ],
)
def test_undisputed_cases(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


def test_the_deciding_line_is_named() -> None:
    robots = parse_robots(b"User-agent: *\nDisallow: /a\nAllow: /a/b # but this\n", "headrace")
    assert robots.decide(f"{SITE}/a/b").rule == "Allow: /a/b (line 3)"
    assert robots.decide(f"{SITE}/a/c").rule == "Disallow: /a (line 2)"
    assert robots.decide(f"{SITE}/c").rule == "no rule matches"


def test_delay_and_sitemaps_are_read() -> None:
    text = (
        b"User-agent: *\nDisallow: /y\nCrawl-delay: 9\nUser-agent: headrace\nCrawl-delay: 2.5\nSitemap: https://a/s.xml"
    )
    robots = parse_robots(text, "headrace")
    assert robots.crawl_delay == 2.5
    assert parse_robots(text, "other").crawl_delay == 9.0
    assert robots.sitemaps == ["https://a/s.xml"]


def test_rules_of_agents_in_one_group_stay_apart_afterwards() -> None:
    text = "user-agent: a\nuser-agent: b\ndisallow: /both\n\nuser-agent: a\ndisallow: /only-a\n"
    assert not allows(text, "/only-a", "a")
    assert allows(text, "/only-a", "b")
    assert not allows(text, "/both", "b")


def test_a_file_is_read_to_the_limit_of_the_standard() -> None:
    early = b"user-agent: *\ndisallow: /early\n"
    long = early + b"#" * MAX_BYTES + b"\ndisallow: /late\n"
    robots = parse_robots(long, "headrace")
    assert not robots.decide(f"{SITE}/early").allowed
    assert robots.decide(f"{SITE}/late").allowed
    assert MAX_BYTES >= 500 * 1024


PATTERN = st.text(alphabet="ab/*$.", max_size=8).map(lambda text: f"/{text}")
PATHS = st.text(alphabet="ab/", max_size=10).map(lambda text: f"/{text}")


@given(PATTERN, PATHS)
def test_matching_is_what_a_regular_expression_would_do(pattern: str, path: str) -> None:
    body = re.escape(pattern.removesuffix("$")).replace(r"\*", ".*")
    expected = re.match(body + ("$" if pattern.endswith("$") else ""), path) is not None
    assert Rule(False, normalise(pattern), "").matches(path) is expected


@given(st.lists(st.tuples(st.booleans(), st.text(alphabet="ab/*", min_size=1, max_size=6)), max_size=6), PATHS)
@settings(max_examples=200, deadline=None)
def test_both_libraries_agree_on_ordinary_files(rules: list[tuple[bool, str]], path: str) -> None:
    lines = "".join(f"{'Allow' if allow else 'Disallow'}: /{pattern}\n" for allow, pattern in rules)
    text = f"User-agent: *\n{lines}"
    assume("//" not in text + path)  # robotspy folds slashes, which the RFC does not
    ours = allows(text, path)
    assert ours is Protego.parse(text).can_fetch(f"{SITE}{path}", "FooBot")
    if "*" not in lines:  # robotspy takes the first pattern with a star that matches
        assert ours is robotspy.RobotsParser.from_string(text).can_fetch("FooBot", f"{SITE}{path}")


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(path: str) -> None:
    assert normalise(normalise(path)) == normalise(path)
