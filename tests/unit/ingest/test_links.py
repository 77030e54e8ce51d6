"""What a page points to."""

import pytest

from ingest.fetch import Response
from ingest.links import read_page

URL = "http://h/dir/page.html"


def page(html: str, **headers: str) -> Response:
    given = {"content-type": "text/html; charset=utf-8"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Response(URL, 200, tuple(given.items()), html.encode())


def test_links_are_absolute_unique_and_in_order() -> None:
    html = """<a href="b">1</a><a href="/c#x">2</a><a href="b#y">3</a><a href="mailto:a@b">4</a>
    <a href="javascript:x()">5</a>    <area href="d?q=1"><iframe src="e"></iframe><link rel="next" href="2">
    <link rel="stylesheet" href="s.css"><a>6</a>
    <a href="file:///etc/passwd">7</a>"""
    assert read_page(page(html), "headrace").links == [
        f"http://h/{path}" for path in ("dir/b", "c", "dir/d?q=1", "dir/e", "dir/2")
    ]


def test_base_decides_what_relative_means() -> None:
    assert read_page(page('<base href="http://cdn/x/"><a href="y">1</a><img src="z.png">'), "headrace").media == [
        "http://cdn/x/z.png"
    ]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<img src="a.png">', ["a.png"]),
        ('<img src="small.png" srcset="s.png 320w, l.png 1280w, m.png 640w">', ["l.png"]),
        ('<img src="dot.gif" data-src="real.jpg">', ["real.jpg"]),
        ('<picture><source srcset="p.webp"><img></picture>', ["p.webp"]),
        ('<img src="data:image/gif;base64,R0lGOD">', []),
        ('<img src="pixel.gif" width="1" height="1">', []),
        ('<audio src="a.mp3"></audio>', ["a.mp3"]),
        ('<audio><source src="a.ogg"><source src="a.mp3"></audio>', ["a.ogg"]),
        ('<video src="v.mp4"></video>', ["v.mp4"]),
        ('<meta property="og:image" content="/o.jpg">', ["/o.jpg"]),
    ],
)
def test_media(html: str, expected: list[str]) -> None:
    found = read_page(page(f"<body>{html}"), "headrace").media
    assert found == [f"http://h{url}" if url.startswith("/") else f"http://h/dir/{url}" for url in expected]


def test_nofollow_is_obeyed_in_every_place() -> None:
    link = '<a href="x">x</a>'
    assert read_page(page(f'<a rel="nofollow ugc" href="y">y</a>{link}'), "headrace").links == ["http://h/dir/x"]
    assert read_page(page(f'<meta name="robots" content="noindex, nofollow">{link}'), "headrace").links == []
    assert read_page(page(link, x_robots_tag="nofollow"), "headrace").links == []
    assert read_page(page(link, x_robots_tag="otherbot: nofollow"), "headrace").links == ["http://h/dir/x"]
    assert read_page(page(link, x_robots_tag="headrace: none"), "headrace").links == []


def test_other_charsets_are_read() -> None:
    response = Response(
        URL,
        200,
        (("Content-Type", "text/html"),),
        '<meta charset="gb2312"><p>图形界面的说明文字<a href="页">下一页</a>'.encode("gb2312"),
    )
    assert read_page(response, "headrace").links == ["http://h/dir/%E9%A1%B5"]
