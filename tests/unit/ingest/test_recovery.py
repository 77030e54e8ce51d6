"""What the extractor lost comes back; what it kept by mistake goes."""

from lxml import html

from ingest.blocks import Page, read_page
from ingest.recovery import inside_of, recovered, root_of

PROSE = "A sentence that is long enough to be taken for prose of the article, number {}."


def read(markup: str) -> Page:
    return read_page(html.document_fromstring(f"<html><body>{markup}</body></html>"), "https://e.org/")


def kept_of(page: Page, *texts: str) -> list[str]:
    kept = [block for block in page.blocks if block.text in texts]
    return [block.text for block in recovered(page, kept, 0)]


def article(*inner: str) -> str:
    return f"<div>Menu of the site</div><div>{''.join(inner)}</div><div>{PROSE.format('elsewhere')}</div>"


def test_lost_prose_headings_tables_and_code_between_kept_blocks_come_back() -> None:
    page = read(
        article(
            f"<p>{PROSE.format(0)}</p><h2>Part</h2><p>{PROSE.format(1)}</p><pre>x = 1</pre>",
            f"<table><tr><td>a</td><td>b</td></tr></table><p>Advertisement</p><p>{PROSE.format(2)}</p>",
        )
    )
    found = kept_of(page, PROSE.format(0), PROSE.format(2))
    assert found == [PROSE.format(0), "Part", PROSE.format(1), "x = 1", "a | b", PROSE.format(2)]


def test_what_is_links_stays_out() -> None:
    teaser = f'<p><a href="/other">{PROSE.format("other")}</a></p>'
    navigation = '<table><tr><td><a href="/1">Previous</a></td><td><a href="/2">Next</a></td></tr></table>'
    page = read(article(f"<p>{PROSE.format(0)}</p>{teaser}{navigation}<p>{PROSE.format(1)}</p>"))
    assert kept_of(page, PROSE.format(0), PROSE.format(1)) == [PROSE.format(0), PROSE.format(1)]


def test_terms_of_a_list_come_back_with_their_definitions() -> None:
    items = "".join(f"<dt>Term {n}</dt><dd>{PROSE.format(n)}</dd>" for n in range(3))
    page = read(article(f"<dl>{items}</dl>"))
    wanted = [text for n in range(3) for text in (f"Term {n}", PROSE.format(n))]
    assert kept_of(page, *(PROSE.format(n) for n in range(3))) == wanted


def test_promotions_and_headings_over_nothing_go() -> None:
    inner = f"<p>{PROSE.format(0)}</p><p>Read more: <a href='/x'>Another story</a></p><p>{PROSE.format(1)}</p>"
    page = read(article(inner, "<h3>Popular on this site</h3><h3>More stories</h3>"))
    found = kept_of(page, *(block.text for block in page.blocks[1:-1]))
    assert found == [PROSE.format(0), PROSE.format(1)]


def test_a_little_text_far_from_the_rest_goes() -> None:
    body = "".join(f"<p>{PROSE.format(n)}</p>" for n in range(8))
    menu = "".join(f"<p><a href='/{n}'>One of many other stories, number {n}</a></p>" for n in range(60))
    page = read(article(body, menu, "<p>A teaser that was kept.</p>"))
    texts = [PROSE.format(n) for n in range(8)]
    assert kept_of(page, *texts, "A teaser that was kept.") == texts


def test_the_root_is_the_innermost_element_that_holds_the_text() -> None:
    page = read(f"<div><div id=a><p>{PROSE.format(0)}</p><p>{PROSE.format(1)}</p></div><p>Imprint</p></div>")
    imprint = page.blocks[-1]
    root = root_of(page, page.blocks[:-1])
    assert page.tags[root] == "div"
    assert [inside_of(page, root)[block.box] for block in page.blocks] == [True, True, False]
    assert root_of(page, page.blocks[:1]) == root != root_of(page, [imprint])
