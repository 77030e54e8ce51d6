"""One payload, one document or one named reason: every kind, every toggle, hostile input."""

from typing import Any

import pytest

from catalog.schema import Reason
from ingest.document import read_document
from ingest.rejected import Rejected
from ingest.settings import CleaningRules, ExtractSettings

ROW = {
    "url": "https://e.org/a.html",
    "page_id": "p1",
    "content_type": "text/html",
    "source": "s",
    "licence": "",
    "rights": "noai",
}
PARAGRAPH = "The river rises in the hills, and it flows through three towns before it reaches the sea at last."
ARTICLE = f"""<!doctype html><html lang="en"><head><title>Rivers</title></head><body><nav><a href="/">Home</a></nav>
<main>
<article><h1>Rivers</h1><p>{PARAGRAPH}</p><p>Ask  jane@example.org about
<b>sÃ³lo</b> boats, and how they go up the river when the water is low in the summer months.</p>
<figure><img src="boat.png" alt="A boat"><figcaption>A boat on the river</figcaption></figure>
<p>{PARAGRAPH.replace("river", "stream")}</p></article></main><footer>Imprint and terms of use</footer></body></html>"""


def read(
    payload: bytes | str, kind: str = "html", rules: dict[str, Any] | None = None, **wanted: Any
) -> dict[str, Any]:
    data = payload.encode() if isinstance(payload, str) else payload
    return read_document(data, kind, ROW, CleaningRules(**(rules or {})), ExtractSettings(**wanted))


def texts(document: dict[str, Any]) -> list[str]:
    return [document["text"][block["start"] : block["end"]] for block in document["blocks"]]


def test_an_article_becomes_blocks_media_and_measures() -> None:
    document = read(ARTICLE)
    assert [block["kind"] for block in document["blocks"]] == [
        "heading",
        "paragraph",
        "paragraph",
        "caption",
        "paragraph",
    ]
    assert document["text"] == "\n\n".join(texts(document))
    assert texts(document)[2].startswith("Ask [EMAIL] about sólo boats")
    assert "Imprint" not in document["text"] and "Home" not in document["text"]
    assert document["media"] == [
        {
            "url": "https://e.org/boat.png",
            "kind": "image",
            "alt": "A boat",
            "caption": "A boat on the river",
            "block": 3,
        }
    ]
    assert (document["title"], document["language"], document["rights"]) == ("Rivers", "en", "noai")
    assert document["quality"]["num_chars"] == len(document["text"])
    assert {hit["rule"] for hit in document["rule_hits"]} == {"fix_unicode", "pii_email"}


@pytest.mark.parametrize(
    ("rule", "on", "off"),
    [
        ("remove_html", "about sólo boats", "about <b>sólo</b> boats"),
        ("normalize_whitespace", "Ask [EMAIL] about sólo", "Ask  [EMAIL] about\nsólo"),
        ("fix_unicode", "sólo", "sÃ³lo"),
        ("mask_pii", "[EMAIL]", "jane@example.org"),
    ],
)
def test_every_cleaning_rule_is_observable(rule: str, on: str, off: str) -> None:
    assert on in read(ARTICLE)["text"]
    without = read(ARTICLE, rules={rule: False})
    assert off in without["text"] and on not in without["text"]
    assert without["text"] == "\n\n".join(texts(without))


def test_stop_words_leave_the_analysis_text_alone() -> None:
    document, without = read(ARTICLE), read(ARTICLE, rules={"filter_stopwords": False})
    assert "river rises hills" in document["analysis_text"]
    assert without["analysis_text"] is None
    assert without["text"] == document["text"]


def test_ids_follow_url_and_text_alone() -> None:
    assert read(ARTICLE)["document_id"] == read(ARTICLE.replace("<footer>", "<footer>new "))["document_id"]
    assert read(ARTICLE)["document_id"] != read(ARTICLE.replace("hills", "mountains"))["document_id"]


def test_markdown_becomes_blocks_and_media() -> None:
    document = read(
        "---\ntitle: x\n---\n# Rivers\n\nThey *flow* to the [sea](/sea).\n\n- one\n- two\n\n```\ncode  here\n```\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n![A boat](boat.png)\n",
        "markdown",
    )
    assert [(block["kind"], text) for block, text in zip(document["blocks"], texts(document), strict=True)] == [
        ("heading", "Rivers"), ("paragraph", "They flow to the sea."), ("list_item", "one"), ("list_item", "two"),
        ("code", "code  here"), ("table", "a | b\n1 | 2"),
    ]  # fmt: skip
    assert document["title"] == "x"
    assert document["media"][0] | {"block": None} == {
        "url": "https://e.org/boat.png", "kind": "image", "alt": "A boat", "caption": None, "block": None,
    }  # fmt: skip


def test_text_is_paragraphs_and_tags_in_it_are_removed() -> None:
    assert texts(read("One paragraph here.\nStill the same.\n\nAnother one.", "text")) == [
        "One paragraph here.\nStill the same.", "Another one.",
    ]  # fmt: skip
    assert read("A <b>bold</b> claim &amp; more of the same.", "text")["text"] == "A bold claim & more of the same."
    assert "<b>" in read("A <b>bold</b> claim &amp; more of the same.", "text", {"remove_html": False})["text"]
    assert read("if a < b and c > d: then it is so", "text")["text"] == "if a < b and c > d: then it is so"


def test_a_page_of_captioned_pictures_is_a_document() -> None:
    figures = "".join(f'<figure><img src="{n}.png"><figcaption>图片{n}</figcaption></figure>' for n in range(5))
    document = read(f'<html lang="zh"><head><title>图片</title></head><body>{figures}</body></html>')
    assert [item["caption"] for item in document["media"]] == [f"图片{n}" for n in range(5)]
    assert [texts(document)[item["block"]] for item in document["media"]] == [f"图片{n}" for n in range(5)]


def test_a_page_of_bare_pictures_is_named_by_its_title() -> None:
    document = read(
        '<html><head><title>Three boats</title></head><body><img src="a.png"><img src="b.png"></body></html>'
    )
    assert (document["text"], [item["block"] for item in document["media"]]) == ("Three boats", [0, 0])


def test_the_page_s_own_picture_stands_in_where_its_content_has_none() -> None:
    page = (
        f'<!doctype html><html><head><meta property="og:image" content="/og.jpg"></head><body><p>{PARAGRAPH}</p></body>'
    )
    assert [item["url"] for item in read(page)["media"]] == ["https://e.org/og.jpg"]
    assert [item["url"] for item in read(page.replace("</p>", '</p><img src="own.png">'))["media"]] == [
        "https://e.org/own.png"
    ]


@pytest.mark.parametrize(
    ("payload", "wanted", "reason"),
    [
        ("<!doctype html><html><head><title>No text</title></head><body></body></html>", {}, Reason.EMPTY_TEXT),
        ("<!doctype html><html><body><p>Too short.</p></body></html>", {}, Reason.TOO_SHORT),
        (ARTICLE, {"languages": ["zh", "de"]}, Reason.WRONG_LANGUAGE),
        (ARTICLE, {"min_quality": 1.0}, Reason.LOW_QUALITY),
        (ARTICLE, {"max_html_bytes": 100}, Reason.TOO_LARGE),
        (ARTICLE, {"max_elements": 5}, Reason.TOO_LARGE),
        (b"<meta charset=gbk>" + PARAGRAPH.encode().replace(b"e", b"\xff"), {}, Reason.DECODE_ERROR),
    ],
)
def test_what_is_turned_away_has_a_reason(payload: bytes | str, wanted: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        read(payload, **wanted)
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_page_with_a_few_broken_bytes_is_kept() -> None:
    damaged = f"<html><head><meta charset=utf-8></head><body><p>{PARAGRAPH}</p></body></html>".encode()
    assert read(damaged.replace(b"three", b"thr\xffe"))["text"] == PARAGRAPH.replace("three", "thr\ufffde")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"   \n",
        b"<",
        b"<html><body><p>unclosed <b>tags <table><tr><td>everywhere",
        b"<html>" + b"<div>" * 3000 + b"deep" + b"</div>" * 3000,
        b"<!doctype html>" + bytes(range(256)) * 20,
        b"\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00",
        b"<html><body>" + b"<p>&#0;&#xD800;&#x110000;&bogus;</p>" * 5,
        b"<?xml version='1.0' encoding='utf-16'?><html><body><p>lies about its encoding</p></body></html>",
        b"<html><body><p>" + b"a" * 200_000 + b"</p></body></html>",
        b"<html><body>" + b"<table><tr><td>" * 200,
        b"<html><head><base href='http://['></head><body><img src='a.png'><p>bad base</p></body></html>",
        "<html><body><p>\ud800 lone surrogate</p></body></html>".encode("utf-8", "surrogatepass"),
        b'<html><head><script type="application/ld+json">' + b"[" * 5000 + b"</script></head><body>x</body></html>",
    ],
    ids=range(14),
)
def test_hostile_pages_cost_only_themselves(payload: bytes) -> None:
    try:
        document = read(payload)
    except Rejected as error:
        assert error.reason in set(Reason)
    else:
        assert document["text"] == "\n\n".join(texts(document)) != ""
        document["text"].encode("utf-8")


def test_a_date_within_a_sentence_stays() -> None:
    """Trafilatura 2.3 deletes <time> elements, whatever stands around them."""
    said = "On <time datetime='1969-07-16'>16 July 1969</time>, before noon, the rocket rose from the coast of Florida."
    document = read(ARTICLE.replace(f"<p>{PARAGRAPH}</p>", f"<p>{said}</p>", 1))
    assert "On 16 July 1969, before noon, the rocket rose" in document["text"]
