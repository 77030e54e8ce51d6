"""Cleaning is idempotent, and every offset is a range of the text that it cuts."""

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html
from trafilatura import load_html

from catalog.pii import mask
from ingest.blocks import Block, read_page
from ingest.charset import decode_text
from ingest.clean import clean_block
from ingest.compiled import compile_rule
from ingest.content import main_blocks
from ingest.document import compose, read_document
from ingest.rejected import Rejected
from ingest.rules import Rule, shipped_rules
from ingest.settings import CleaningRules, ExtractSettings
from ingest.sniff import sniff

# Text that the rules have opinions about, more often than chance would have it: pieces of their own golden pairs too.
CHARACTERS = "\u00a0\u200b\u200d\u2028\t\x00\ufeffﬁ。，,.!?！～…—（)(:;ａ１"
WORDS_APART = [
    "\r\n",
    "\n\n",
    "  ",
    "Ã³",
    "â€œ",
    "ï¿½",
    "e\u0301",
    "👩\u200d🚀",
    "&amp;",
    "<b>",
    "中文",
    "&lt;",
    "涓枃",
]
PERSONAL = [
    "me@example.org",
    "13812345678",
    "4111 1111 1111 1111",
    "11010519491231002X",
    "+44 20 7946 0958",
    "E12345678",
]
SPOKEN = [
    "um",
    "Uh,",
    "嗯",
    "那个",
    "然后",
    "啊，",
    "哈哈",
    "顶",
    "沙发",
    "mark",
    "ooooo",
    "======",
    "[pause]",
    "Read more",
]
GOLDEN = [text for rule in shipped_rules() for pair in rule.examples for text in pair]
HARD = st.sampled_from([*CHARACTERS, *WORDS_APART, *PERSONAL, *SPOKEN, *GOLDEN])
TEXT = st.lists(st.one_of(HARD, HARD, st.text(max_size=8)), max_size=12).map("".join)
KINDS = ("email", "phone", "cn_id", "card", "passport", "ip")
FLAGS = ("remove_html", "normalize_whitespace", "filter_stopwords", "fix_unicode", "mask_pii", "use_shipped_rules")
RULES = st.fixed_dictionaries({flag: st.booleans() for flag in FLAGS}).map(lambda flags: CleaningRules(**flags))
INVISIBLE = regex.compile(next(rule.pattern for rule in shipped_rules() if rule.name == "zero_width") or "")
LANGUAGES = st.sampled_from([None, "en", "zh", "de"])


@pytest.mark.parametrize("rule", shipped_rules(), ids=lambda rule: rule.name)
@given(text=TEXT)
@settings(max_examples=60, deadline=None)
def test_each_rule_is_idempotent(rule: Rule, text: str) -> None:
    run = compile_rule(rule)
    once, _ = run(text)
    assert run(once) == (once, 0)


@given(TEXT)
def test_masking_is_idempotent(text: str) -> None:
    once, _ = mask(text, KINDS)
    assert mask(once, KINDS) == (once, {})


@given(TEXT, st.sampled_from(["paragraph", "code", "heading", "table"]), RULES, LANGUAGES)
@settings(max_examples=300, deadline=None)
def test_all_rules_together_are_idempotent(text: str, kind: str, rules: CleaningRules, language: str | None) -> None:
    once, _ = clean_block(text, kind, rules, language)
    again, hits = clean_block(once, kind, rules, language)
    assert again == once
    assert not +hits


@given(TEXT)
def test_code_keeps_every_visible_character(text: str) -> None:
    rules = CleaningRules(mask_pii=False, fix_unicode=False)
    cleaned, _ = clean_block(text, "code", rules, "zh")
    assert "".join(cleaned.split()) == "".join(INVISIBLE.sub("", text).split())


@given(st.lists(st.tuples(st.sampled_from(["paragraph", "code", "heading"]), TEXT), max_size=8), RULES)
def test_ranges_cut_the_cleaned_blocks_out_of_the_text(parts: list[tuple[str, str]], rules: CleaningRules) -> None:
    blocks = [Block(kind, None, text, order) for order, (kind, text) in enumerate(parts)]
    composed = compose(blocks, rules)
    cleaned = [
        text for block in blocks if (text := clean_block(block.text, block.kind, rules, composed.language)[0]).strip()
    ]
    assert [composed.text[start:end] for start, end in composed.ranges] == cleaned
    assert composed.text == "\n\n".join(cleaned)


WORDS = st.lists(
    st.sampled_from(["river", "hills", "town", "sea", "boat", "water", "people", "summer", "the", "and", "of", "河流"]),
    min_size=1,
    max_size=30,
)
ELEMENTS = st.lists(
    st.tuples(st.sampled_from(["p", "div", "li", "h2", "blockquote", "td", "nav"]), WORDS), min_size=1, max_size=12
)


@given(ELEMENTS, st.data())
@settings(max_examples=60)
def test_whatever_the_extractor_chose_is_in_the_blocks_once_but_headings_over_nothing(
    elements: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    markup = "".join(
        f"<{tag}>{number} {' '.join(words)}</{tag}>"
        for number, (tag, words) in enumerate(elements, 100)
        if tag != "nav"
    )
    page = read_page(load_html(f"<!doctype html><html><body>{markup}</body></html>"), "http://e.org/")
    chosen = [block for block in page.blocks if data.draw(st.booleans())]
    body = html.fromstring("<body>" + "".join(f"<p>{block.text}</p>" for block in chosen) + "</body>")
    found = [block.text.replace(" ", "") for block in main_blocks(page, body)]
    assert len(set(found)) == len(found)
    assert set(found) <= {block.text.replace(" ", "") for block in page.blocks}  # what was lost beside it may come back
    last = max((index for index, block in enumerate(chosen) if block.kind != "heading"), default=len(chosen))
    must = [block.text.replace(" ", "") for block in chosen[: last + 1]]  # the end may be "More stories" over nothing
    may = [block.text.replace(" ", "") for block in chosen]
    kept = [text for text in found if text in may]
    assert must == kept[: len(must)] and kept == may[: len(kept)]


@given(
    st.binary(max_size=400),
    st.sampled_from([None, "text/html", "text/html; charset=gbk", "text/plain; charset=x", "image/png"]),
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_raise_anything_but_a_reject(payload: bytes, content_type: str | None) -> None:
    decode_text(payload, content_type)
    sniff(payload, content_type, "http://e.org/a")
    row = {"url": "http://e.org/a", "page_id": "p", "content_type": content_type}
    for kind in ("html", "text", "markdown"):
        try:
            document = read_document(
                b"<html><body>" + payload, kind, row, CleaningRules(), ExtractSettings(min_chars=0)
            )
        except Rejected:
            continue
        for block in document["blocks"]:
            assert document["text"][block["start"] : block["end"]].strip()
