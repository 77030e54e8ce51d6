"""Main content: our walk reconciled with the extractor's choice."""

from lxml import etree
from trafilatura import load_html

from ingest.blocks import Page, read_page
from ingest.content import anchors, main_blocks, main_references, with_captions

LONG = "This sentence is long enough to be found without any doubt in the extracted text, number {}."


def read(markup: str) -> Page:
    return read_page(load_html(f"<!doctype html><html><body>{markup}</body></html>"), "http://e.org/")


def chosen(page: Page, *texts: str, kinds: tuple[str, ...] = ()) -> list[str]:
    """Return the texts of the main blocks, where an extractor chose these."""
    return [block.text for block in main_blocks(page, tree(*texts, kinds=kinds))]


def tree(*texts: str, kinds: tuple[str, ...] = ()) -> object:
    body = etree.Element("body")
    for index, text in enumerate(texts):
        etree.SubElement(body, kinds[index] if kinds else "p").text = text
    return body


def test_only_covered_blocks_are_kept_in_order() -> None:
    first, second = LONG.format(1), LONG.format(2)
    page = read(
        f"<div>Menu</div><p>{first}</p><div>Read more of our stories</div><p>Short.</p><p>{second}</p><div>Menu</div>"
    )
    assert chosen(page, first, "Short.", second) == [first, "Short.", second]


def test_a_short_word_of_the_menu_is_not_taken_for_one_of_the_text() -> None:
    page = read(f"<div>On</div><p>{LONG.format(1)}</p><p>Only here.</p><p>{LONG.format(2)}</p>")
    assert "On" not in chosen(page, LONG.format(1), "Only here.", LONG.format(2))


def test_a_teaser_that_repeats_a_paragraph_is_kept_once() -> None:
    texts = [LONG.format(number) for number in range(4)]
    page = read(f"<div>{texts[2]}</div>" + "".join(f"<p>{text}</p>" for text in texts))
    assert chosen(page, *texts) == texts


def test_text_that_the_extractor_cut_out_of_a_block_takes_its_place() -> None:
    cut = LONG.format(1)
    page = read(f"<p>{LONG.format(0)}</p><div>Share this! <b>{cut}</b> Print</div><p>{LONG.format(2)}</p>")
    blocks = main_blocks(page, tree(LONG.format(0), cut, LONG.format(2)))
    assert [(block.text, block.order) for block in blocks] == [(LONG.format(0), 0), (cut, 1), (LONG.format(2), 2)]


def test_text_that_is_nowhere_in_the_dom_becomes_a_block() -> None:
    page = read(f"<p>{LONG.format(0)}</p>")
    assert chosen(page, LONG.format(0), "Only in the page's JSON-LD, an article body.") == [
        LONG.format(0), "Only in the page's JSON-LD, an article body.",
    ]  # fmt: skip


def test_navigation_that_the_extractor_let_through_is_dropped() -> None:
    page = read(f'<div class="navheader">Prev | Up | Next chapter</div><p>{LONG.format(0)}</p>')
    assert chosen(page, "Prev | Up | Next chapter", LONG.format(0)) == [LONG.format(0)]


def test_an_article_inside_an_ads_box_is_kept_with_its_picture() -> None:
    page = read(f'<div class="ads"><p>{LONG.format(0)}</p><img src="a.png"><p>{LONG.format(1)}</p></div>')
    kept = main_blocks(page, tree(LONG.format(0), LONG.format(1)))
    assert [item.url for item in main_references(page, kept)] == ["http://e.org/a.png"]
    assert len(kept) == 2


def test_media_amid_or_next_to_the_content_are_kept_and_anchored() -> None:
    markup = f"""<div>{"Other story. " * 30}<img src="far.png"></div><h1>The headline</h1><img src="lead.png">
    <div>By A. Writer, {"posted and updated, " * 12}</div><p>{LONG.format(0)}</p>
    <figure><img src="fig.png"><figcaption>What it shows</figcaption></figure>
    <p>{LONG.format(1)} <img src="inline.png"></p><img src="end.png">
    <div>{"Another story. " * 30}</div><img src="beyond.png">"""
    page = read(markup)
    kept = main_blocks(page, tree(LONG.format(0), LONG.format(1)))
    references = main_references(page, kept)
    names = [item.url.rpartition("/")[2] for item in references]
    assert names == ["lead.png", "fig.png", "inline.png", "end.png"]
    assert [item.caption for item in references] == [None, "What it shows", None, None]
    blocks = with_captions(page, kept, references)
    assert [block.kind for block in blocks] == ["paragraph", "caption", "paragraph"]
    assert anchors(references, page, blocks) == [0, 1, 2, 2]


def test_the_same_picture_is_referred_to_once() -> None:
    page = read(f'<p>{LONG.format(0)}</p><img src="a.png"><img src="a.png#again">')
    assert len(main_references(page, page.blocks)) == 1


def test_nothing_extracted_keeps_nothing() -> None:
    page = read("<p>Some words.</p>")
    assert main_blocks(page, etree.Element("body")) == []
    assert anchors(page.references, page, []) == []
