"""The DOM walk: blocks in order, media where they stand."""

import pytest
from trafilatura import load_html

from ingest.blocks import Page, read_page, text_blocks

PAGE = """<!doctype html><html><head><base href="/x/"><title>t</title></head><body>
<nav class="navbar"><a href="1">Home</a></nav><header><img src="banner.png"></header>
<article><header><h1>Title <b>one</b></h1><img src="lead.jpg" width="800"></header>
<p>Hello
   <i>wor</i>ld<br>line two<script>bad()</script> tail.</p>loose text
<figure><img data-src="a.png" src="data:xx" alt=" An  a " srcset="a1.png 300w, a2.png 900w">
<figcaption>Cap <em>A</em></figcaption></figure>
<ul><li>one<ul><li>two</li></ul></li><li>three <img src="i.png"></li></ul>
<table><caption>Numbers</caption><tr><th>A</th><th>B</th></tr><tr><td>1</td><td><p>2</p></td></tr></table>
<pre>code
  indented</pre><blockquote><p>quoted</p></blockquote>
<p hidden>not shown</p><div aria-hidden="true">nor this</div>
<audio controls>no player<source src="s.ogg"></audio><noscript><img src="ns.jpg"></noscript></article>
<footer>foot</footer></body></html>"""


def walk(markup: str, **options: bool) -> Page:
    return read_page(load_html(markup), "http://e.org/d/", **options)


@pytest.fixture(scope="module")
def page() -> Page:
    return walk(PAGE)


def test_blocks_come_in_dom_order_with_kind_and_text(page: Page) -> None:
    assert [(block.kind, block.text) for block in page.blocks] == [
        ("paragraph", "Home"),
        ("heading", "Title one"),
        ("paragraph", "Hello world\nline two tail."),
        ("paragraph", "loose text"),
        ("caption", "Cap A"),
        ("list_item", "one"),
        ("list_item", "two"),
        ("list_item", "three"),
        ("table", "Numbers\nA | B\n1 | 2"),
        ("code", "code\n  indented"),
        ("quote", "quoted"),
        ("paragraph", "foot"),
    ]
    assert [block.order for block in page.blocks] == list(range(12))


def test_levels_count_headings_and_list_depth(page: Page) -> None:
    assert [block.level for block in page.blocks if block.kind == "heading"] == [1]
    assert [block.level for block in page.blocks if block.kind == "list_item"] == [1, 2, 1]


def test_chrome_is_what_navigation_and_footers_enclose(page: Page) -> None:
    assert [block.text for block in page.blocks if block.chrome] == ["Home", "foot"]


def test_references_are_resolved_against_base_and_know_their_place(page: Page) -> None:
    found = {reference.url.rpartition("/")[2]: reference for reference in page.references}
    assert set(found) == {"banner.png", "lead.jpg", "a2.png", "i.png", "s.ogg", "ns.jpg"}
    assert all(reference.url.startswith("http://e.org/x/") for reference in page.references)
    assert found["banner.png"].chrome == 1
    assert found["lead.jpg"].place == 2 and not found["lead.jpg"].inside
    assert found["a2.png"].alt == "An a" and page.captions[found["a2.png"].figure or 0] == [4]
    assert found["i.png"].place == 7 and found["i.png"].inside
    assert found["s.ogg"].kind == "audio"


def test_icons_and_ornaments_are_no_references() -> None:
    page = walk('<body><p>x</p><img src="a.png" width="16"><img src="/img/share-facebook.png"><img src="b.png"></body>')
    assert [reference.url for reference in page.references] == ["http://e.org/d/b.png"]


def test_a_layout_table_is_no_data_table() -> None:
    page = walk("<html><body><table><tr><td><h1>Title</h1></td><td><ul><li>x</li></ul></td></tr></table></body></html>")
    assert [(block.kind, block.text) for block in page.blocks] == [("heading", "Title"), ("list_item", "x")]


def test_white_space_stays_when_asked() -> None:
    assert walk("<html><body><p>a  \n b</p></body></html>", keep_spaces=True).blocks[0].text == "a  \n b"


def test_markup_stays_when_asked_but_not_its_scripts() -> None:
    markup = '<html><body><p>a <a href="/u?a=1&amp;b" onclick="evil()">b &lt; c</a><br>d</p></body></html>'
    assert walk(markup, keep_markup=True).blocks[0].markup == 'a <a href="/u?a=1&amp;b">b &lt; c</a>\nd'


def test_deep_nesting_is_no_problem() -> None:
    page = walk("<html><body>" + "<div>" * 200 + "deep" + "</div>" * 200 + "<p>after</p></body></html>")
    assert "deep" in "".join(block.text for block in page.blocks)


def test_plain_text_is_cut_at_blank_lines() -> None:
    assert [block.text for block in text_blocks("a\nb\r\n\r\n  \nc\n\n")] == ["a\nb", "c\n\n".strip()]
