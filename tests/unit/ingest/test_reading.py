"""Payloads as content: what pictures an article has, and what its Markdown declares."""

import pytest

from ingest.reading import read_content
from ingest.settings import CleaningRules, ExtractSettings

PROSE = "The river rises in the hills, and it flows through {} towns before it reaches the sea at last."
TEXT = "".join(f"<p>{PROSE.format(number)}</p>" for number in range(1, 5))


def images(markup: str, head: str = "") -> list[str]:
    payload = f"<!doctype html><html><head>{head}</head><body>{markup}</body></html>".encode()
    content = read_content(payload, "html", "https://e.org/a/", "text/html", CleaningRules(), ExtractSettings())
    return [item.url.removeprefix("https://e.org/") for item in content.references]


@pytest.mark.parametrize(
    ("image", "kept"),
    [
        ('<img src="boat.jpg">', True),
        ('<a href="boat-large.jpg"><img src="boat.jpg"></a>', True),
        ('<a href="/other-story"><img src="other.jpg"></a>', False),
        ('<img src="site-logo.png">', False),
        ('<img src="ad-728x90.gif">', False),
        ('<img src="https://ads.e.org/delivery/avw.php?zone=1">', False),
        ('<img src="/">', False),
    ],
)
def test_a_picture_over_the_article_is_kept_unless_it_is_another_s(image: str, kept: bool) -> None:
    found = images(f"<article>{image}<h1>Rivers</h1>{TEXT}</article>")
    assert bool(found) == kept


def test_the_declared_picture_is_found_at_its_place_in_another_size() -> None:
    head = '<meta property="og:image" content="https://e.org/boat-river-1200x630.jpg">'
    lead = '<div><header class="social"><img src="/boat-river-640x480.jpg"></header></div>'
    page = f"{lead}<div><h1>Rivers</h1>{TEXT}</div>"
    assert images(page, head) == ["boat-river-640x480.jpg"]
    assert images(f"<div><h1>Rivers</h1>{TEXT}</div>", head) == ["boat-river-1200x630.jpg"]


def test_icons_of_admonitions_are_no_pictures() -> None:
    assert images(f'<div>{TEXT}<p><img src="images/note.png">{PROSE.format(9)}</p>{TEXT}</div>') == []


def test_a_div_of_before_figure_captions_its_picture() -> None:
    figure = '<div class="figure"><p class="title">Figure 1. A boat</p><div><img src="b.png"></div></div>'
    payload = f"<!doctype html><html><body><div>{TEXT}{figure}{TEXT}</div></body></html>".encode()
    content = read_content(payload, "html", "https://e.org/", "text/html", CleaningRules(), ExtractSettings())
    assert [item.caption for item in content.references] == ["Figure 1. A boat"]
    assert "Figure 1. A boat" in [block.text for block in content.kept if block.kind == "caption"]


def test_words_that_an_extractor_drops_from_a_sentence_stay() -> None:
    said = 'Choose <span class="guimenu menu">Business</span> → <span class="menu">Export</span> to save the books.'
    payload = f"<!doctype html><html><body><div>{TEXT}<p>{said}</p>{TEXT}</div></body></html>".encode()
    content = read_content(payload, "html", "https://e.org/", "text/html", CleaningRules(), ExtractSettings())
    assert "Choose Business → Export to save the books." in [block.text for block in content.kept]


def test_front_matter_is_metadata() -> None:
    front = b"---\ntitle: On rivers\nauthor: [A. Writer, B. Writer]\ndate: 2024-02-29\nlang: en-GB\n---\n"
    text = front + b"# Rivers\n\nThey flow.\n"
    content = read_content(text, "markdown", "https://e.org/a.md", None, CleaningRules(), ExtractSettings())
    found = content.metadata
    assert (found.title, found.author, found.date, found.language) == (
        "On rivers", "A. Writer; B. Writer", "2024-02-29", "en",
    )  # fmt: skip
    assert [block.text for block in content.kept] == ["Rivers", "They flow."]
    silent = read_content(b"---\n- a\n---\n# Rivers\n", "markdown", "u", None, CleaningRules(), ExtractSettings())
    assert silent.metadata.title == "Rivers"


def test_a_film_s_poster_is_a_picture_at_its_place_and_json_ld_names_a_cover() -> None:
    film = '<video poster="still.jpg"><source src="film.mp4"></video>'
    assert images(f"<div>{TEXT}{film}{TEXT}</div>") == ["a/film.mp4", "a/still.jpg"]
    said = '{"@type": "NewsArticle", "image": [{"@type": "ImageObject", "url": "/cover.jpg"}]}'
    assert images(f"<div>{TEXT}</div>", f'<script type="application/ld+json">{said}</script>') == ["cover.jpg"]


@pytest.mark.parametrize("tag", ["article", "main", "section", "div"])
@pytest.mark.parametrize(
    "head", ["<!doctype html><title>T</title>", "<meta charset=utf-8><title>T</title><header>Top</header>"]
)
def test_a_page_without_html_and_body_tags_is_read_whole(tag: str, head: str) -> None:
    paragraphs = [PROSE.format(n) for n in range(4)]
    inner = "".join(f"<p>{text}</p>" for text in paragraphs[:2])
    markup = f"{head}<{tag}>{inner}<img src=/p.jpg alt=P></{tag}>{''.join(f'<p>{text}' for text in paragraphs[2:])}"
    content = read_content(markup.encode(), "html", "https://e.org/", "text/html", CleaningRules(), ExtractSettings())
    assert [block.text for block in content.kept] == paragraphs
    assert content.metadata.title == "T"
    assert [reference.url for reference in content.references] == ["https://e.org/p.jpg"]


@pytest.mark.parametrize("markup", ["<body hidden><p>{}</p>", "<body><div aria-hidden=true><p>{}</p></div>"])
def test_a_page_that_is_hidden_as_a_whole_is_what_the_extractor_reads(markup: str) -> None:
    payload = markup.format(PROSE).encode()
    content = read_content(payload, "html", "https://e.org/", "text/html", CleaningRules(), ExtractSettings())
    assert [block.text for block in content.kept] == [PROSE]
