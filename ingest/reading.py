"""One payload → its main content as blocks, media and metadata, before any cleaning."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import yaml
from lxml import etree, html
from markdown_it import MarkdownIt
from trafilatura import bare_extraction

from catalog.schema import Reason
from ingest.blocks import Block, Page, Reference, read_page, text_blocks
from ingest.charset import decode_text
from ingest.content import main_blocks, main_references, with_captions
from ingest.metadata import Metadata, read_front_matter, read_metadata
from ingest.pdf import read_pdf
from ingest.references import Element
from ingest.rejected import Rejected
from ingest.settings import CleaningRules, ExtractSettings

HEAVY = ("style", "svg", "template", "canvas")
UNREAD = (
    "link",
    "meta",
    "noscript",
    "iframe",
    "select",
    "source",
    "track",
)  # by trafilatura, which deletes them itself
# What may stand in a head; anything else ends it (HTML, "in head" insertion mode).
HEAD_ONLY = frozenset(
    ("base", "basefont", "bgsound", "link", "meta", "noframes", "noscript", "script", "style", "template", "title")
)
ENOUGH = 0.5  # share of a page's plain text from which the fast extractor's choice needs no second opinion
NEARLY_ALL = 0.8  # the same of a text that is shorter than …
MIN_CHARS = 250  # trafilatura's own measure of one that is too short to be trusted
MARKUP = re.compile(
    r"</(?:p|div|span|a|b|i|em|strong|li|td|h[1-6]|html|body|font|blockquote)\s*>|<(?:br|p|hr)\s*/?>", re.IGNORECASE
)
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
FRONT_MATTER = re.compile(r"\A---\n((?:.*\n)*?)---\n")
# What a third-party parser may throw at hostile input; each costs its page, none its batch.
PARSER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RecursionError, ArithmeticError,
    etree.LxmlError, yaml.YAMLError,
)  # fmt: skip

# trafilatura wants lxml.html's elements; chosen here in C, where lxml.html asks a Python function for each of them
PARSER = html.HTMLParser(
    collect_ids=False, default_doctype=False, encoding="utf-8", remove_comments=True, remove_pis=True
)
PARSER.set_element_class_lookup(etree.ElementDefaultClassLookup(element=html.HtmlElement))


@dataclass(frozen=True)
class Content:
    """What was read out of a payload, before cleaning."""

    page: Page
    kept: Sequence[Block]
    references: Sequence[Reference]
    metadata: Metadata


def read_content(
    payload: bytes, kind: str, url: str, content_type: str | None, rules: CleaningRules, wanted: ExtractSettings
) -> Content:
    """Read an html, markdown, text or pdf payload; raise Rejected."""
    try:
        if kind == "pdf":
            blocks, metadata = read_pdf(payload, wanted.max_pdf_pages)
            return Content(Page(blocks), blocks, [], metadata)
        text = decode_text(payload, content_type)
        if kind == "html":
            return read_html(text, url, rules, wanted)
        if kind == "markdown":
            return read_markdown(text, url, rules)
        return read_text(text, url, rules)
    except PARSER_ERRORS as error:
        raise Rejected(Reason.EXTRACTOR_FAILED, f"{type(error).__name__}: {error}"[:300]) from error


def read_html(text: str, url: str, rules: CleaningRules, wanted: ExtractSettings) -> Content:
    """Read a page: trafilatura decides what its main content is, our walk gives blocks, media and anchors."""
    tree = _parsed(text)
    if tree is None:
        return read_text(text, url, rules)
    num_elements = int(tree.xpath("count(//*)"))
    if num_elements > wanted.max_elements:
        raise Rejected(Reason.TOO_LARGE, f"{num_elements} elements, more than max_elements {wanted.max_elements}")
    _lighten(tree)
    alive = list(tree.iter())  # lxml makes an element's Python object anew at every visit unless one is held
    metadata = read_metadata(tree, url)
    page = read_page(tree, url, not rules.remove_html, not rules.normalize_whitespace)
    del alive
    body = _extracted(tree, page)
    kept = main_blocks(page, body) if body is not None else []
    kept = kept or [block for block in page.blocks if not block.chrome]
    references = main_references(page, kept, [address for _, address in metadata.media])
    kept = with_captions(page, kept, references)
    return Content(page, kept or _titles(page, references, metadata), _with_cover(references, metadata), metadata)


def _parsed(text: str) -> Element | None:
    """Parse a page whatever it declares its encoding to be; None for a text without tags."""
    if "<" not in text:
        return None
    try:
        tree = html.document_fromstring(CONTROLS.sub("", text).encode("utf-8", "replace"), parser=PARSER)
    except etree.ParserError:  # nothing but comments
        return None
    _end_head(tree)
    return tree


def _end_head(tree: Element) -> None:
    """Move content out of the head: libxml2 knows no <article> or <main>, which open the body where no tag does."""
    head, body = tree.find("head"), tree.find("body")
    strays = [] if head is None else [element for element in head if element.tag not in HEAD_ONLY]
    if not strays:
        return
    if body is None:
        body = etree.SubElement(tree, "body")
    strays[-1].tail = (strays[-1].tail or "") + (body.text or "")
    body.text = None
    body[:0] = strays


def _extracted(tree: Element, page: Page) -> Element | None:
    """Return the body that trafilatura extracts, compared with its fallbacks only where they could win; alters `tree`.

    Its comparison takes a third of its time, and changes a result that misses half of the page or is very short.
    """
    etree.strip_elements(tree, *UNREAD, with_tail=False)
    for element in tree.iter("time"):
        element.tag = "span"  # trafilatura deletes <time> with its words, also in the middle of a sentence
    body = getattr(bare_extraction(tree, fast=True, include_comments=False, output_format="xml"), "body", None)
    plain = sum(len(block.text) for block in page.blocks if not block.chrome and 2 * block.linked < len(block.text))
    size = 0 if body is None else len("".join(body.itertext()))
    if size and size >= (ENOUGH if size >= MIN_CHARS else NEARLY_ALL) * plain:
        return body
    return getattr(bare_extraction(tree, include_comments=False, output_format="xml"), "body", None)


def _lighten(tree: Element) -> None:
    """Drop what no reader needs before the tree is walked and copied; JSON-LD stays, trafilatura reads it too."""
    etree.strip_elements(tree, *HEAVY, with_tail=False)
    for script in list(tree.iter("script")):
        if script.get("type") != "application/ld+json":
            script.drop_tree()


def read_markdown(text: str, url: str, rules: CleaningRules) -> Content:
    """Read CommonMark with tables; a YAML front matter gives metadata."""
    front = FRONT_MATTER.match(text)
    content = _read_fragment(_markdown().render(text[front.end() :] if front else text), url, rules)
    declared = read_front_matter(front[1]) if front else Metadata()
    return Content(content.page, content.kept, content.references, declared.over(content.metadata))


def read_text(text: str, url: str, rules: CleaningRules) -> Content:
    """Read plain text by its blank lines, or as HTML where it plainly holds tags that are to be removed."""
    if rules.remove_html and MARKUP.search(text):
        return _read_fragment(text, url, rules)
    blocks = list(text_blocks(text))
    return Content(Page(blocks), blocks, [], Metadata())


def _read_fragment(markup: str, url: str, rules: CleaningRules) -> Content:
    """Read HTML that is content throughout: rendered Markdown, or a text field with tags in it."""
    tree = html.document_fromstring(f"<html><body>{markup}</body></html>")
    page = read_page(tree, url, not rules.remove_html, not rules.normalize_whitespace)
    title = next((block.text for block in page.blocks if block.kind == "heading"), None)
    return Content(page, page.blocks, main_references(page, page.blocks), Metadata(title=title))


def _titles(page: Page, references: Sequence[Reference], metadata: Metadata) -> list[Block]:
    """Return what names the media of a page without text: its title."""
    named = bool(metadata.title) and bool(references or metadata.media)
    return [Block("heading", 1, metadata.title or "", len(page.blocks))] if named else []


def _with_cover(references: list[Reference], metadata: Metadata) -> list[Reference]:
    """Add the page's og: picture or sound where its content shows none of that kind."""
    kinds = {reference.kind for reference in references}
    covers = {kind: url for kind, url in reversed(metadata.media) if kind not in kinds}
    return [*(Reference(url, kind, None, None, 0) for kind, url in covers.items()), *references]


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark").enable("table")
