"""Addresses of media: srcset, lazy loading, players."""

import pytest
from lxml import html

from ingest.references import absolute, best_candidate, image_url, is_icon, is_ornament, picture_url, player_url

BASE = "https://e.org/a/"


@pytest.mark.parametrize(
    ("srcset", "best"),
    [
        ("a.png 1x, b.png 2x", "b.png"),
        ("a.png 300w,b.png 900w", "b.png"),
        ("a.png", "a.png"),
        ("x,1/a.png 1x, x,2/a.png 3x", "x,2/a.png"),
        ("data:image/png;base64,xx 2x, a.png 1x", "a.png"),
        ("", None),
    ],
)
def test_best_candidate_is_the_largest(srcset: str, best: str | None) -> None:
    assert best_candidate(srcset) == best


@pytest.mark.parametrize(
    ("markup", "url"),
    [
        ('<img src="a.png">', "https://e.org/a/a.png"),
        ('<img src="data:image/gif;base64,R0" data-src="b.png">', "https://e.org/a/b.png"),
        ('<img src="a.png" data-srcset="c.png 2x">', "https://e.org/a/c.png"),
        ('<img src="//cdn.org/a.png#x">', "https://cdn.org/a.png"),
        ("<img>", None),
        ('<img src="javascript:alert(1)">', None),
        ('<img src="http://[broken">', None),
    ],
)
def test_image_url(markup: str, url: str | None) -> None:
    assert image_url(html.fromstring(markup), BASE) == url


def test_picture_and_player_urls() -> None:
    picture = html.fromstring('<picture><source srcset="a.webp 1x, b.webp 2x"><img></picture>')
    player = html.fromstring('<audio><source src="data:x"><source src="s.mp3"></audio>')
    assert picture_url(picture, BASE) == "https://e.org/a/b.webp"
    assert player_url(player, BASE) == "https://e.org/a/s.mp3"


def test_a_page_of_the_web_never_points_into_this_machine() -> None:
    assert absolute("file:///etc/passwd", BASE) is None
    assert absolute("pic.png", "file:///home/me/page.html") == "file:///home/me/pic.png"


def test_icons_are_small_and_ornaments_are_named() -> None:
    assert is_icon(html.fromstring('<img width="16px" height="16">'))
    assert not is_icon(html.fromstring('<img width="100%">'))
    assert is_ornament("https://e.org/img/share-facebook.png?v=1")
    assert not is_ornament("https://e.org/img/spacecraft.png")
