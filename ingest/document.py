"""One payload → one document: parse, choose the main content, clean, measure. Pure; bytes in, a row out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lxml import etree, html
from markdown_it import MarkdownIt
from trafilatura import bare_extraction, load_html

from catalog import ids
from catalog.schema import Reason
from ingest.analysis import analysis_text
from ingest.blocks import Block, Page, Reference, read_page, text_blocks
from ingest.charset import decode_text
from ingest.clean import clean_block, rule_hits
from ingest.content import anchors, main_blocks, main_references, with_captions
from ingest.language import identify
from ingest.metadata import Metadata, read_metadata
from ingest.quality import measure
from ingest.references import Element
from ingest.settings import CleaningRules, ExtractSettings

SEPARATOR = "\n\n"
MAX_UNDECODED = 0.1  # share of U+FFFD above which a text is noise
HEAVY = ("style", "svg", "template", "canvas")
MARKUP = re.compile(
    r"</(?:p|div|span|a|b|i|em|strong|li|td|h[1-6]|html|body|font|blockquote)\s*>|<(?:br|p|hr)\s*/?>", re.IGNORECASE
)
FRONT_MATTER = re.compile(r"\A---\n(?:.*\n)*?---\n")
# What a third-party parser may throw at hostile input; each costs its page, none its batch.
PARSER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RecursionError, ArithmeticError,
    etree.LxmlError,
)  # fmt: skip


class Rejected(Exception):
    """A payload that becomes no document: why, and what to tell the user."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that it survives pickling
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Content:
    """What was read out of a payload, before cleaning."""

    page: Page
    kept: Sequence[Block]
    references: Sequence[Reference]
    metadata: Metadata


@dataclass(frozen=True)
class Composed:
    """The cleaned text, and the half-open code-point range in it of each block that is left."""

    text: str
    blocks: Sequence[Block]
    ranges: Sequence[tuple[int, int]]
    hits: Counter[str]


def read_document(
    payload: bytes, kind: str, row: Mapping[str, Any], rules: CleaningRules, wanted: ExtractSettings
) -> dict[str, Any]:
    """Turn an html, markdown or text payload into a `documents` row (without batch_id); raise Rejected.

    `row` gives url, content_type and what the crawl knows of the page: page_id, source, source_class, fetched_at,
    licence, rights.
    """
    if len(payload) > wanted.max_html_bytes:
        raise Rejected(
            Reason.TOO_LARGE, f"{len(payload)} bytes of {kind}, more than max_html_bytes {wanted.max_html_bytes}"
        )
    text = decode_text(payload, row.get("content_type"))
    try:
        content = _read(text, kind, row["url"], rules, wanted)
    except PARSER_ERRORS as error:
        raise Rejected(Reason.EXTRACTOR_FAILED, f"{type(error).__name__}: {error}"[:300]) from error
    composed = compose(content.kept, rules)
    if not composed.text:
        raise Rejected(Reason.EMPTY_TEXT, "no text and no titled media in the page")
    undecoded = composed.text.count("\ufffd")
    if undecoded > MAX_UNDECODED * len(composed.text):
        declared = row.get("content_type") or "nothing"
        detail = f"{undecoded} of {len(composed.text)} characters cannot be decoded (declared: {declared})"
        raise Rejected(Reason.DECODE_ERROR, detail)
    return _row(content, composed, row, rules, wanted)


def _read(text: str, kind: str, url: str, rules: CleaningRules, wanted: ExtractSettings) -> Content:
    if kind == "html":
        return read_html(text, url, rules, wanted)
    if kind == "markdown":
        return _read_fragment(_markdown().render(FRONT_MATTER.sub("", text)), url, rules)
    if rules.remove_html and MARKUP.search(text):
        return _read_fragment(text, url, rules)
    blocks = list(text_blocks(text))
    return Content(Page(blocks), blocks, [], Metadata())


def read_html(text: str, url: str, rules: CleaningRules, wanted: ExtractSettings) -> Content:
    """Read a page: trafilatura decides what its main content is, our walk gives blocks, media and anchors."""
    tree = load_html(text)
    if tree is None:
        blocks = list(text_blocks(text))
        return Content(Page(blocks), blocks, [], Metadata())
    num_elements = int(tree.xpath("count(//*)"))
    if num_elements > wanted.max_elements:
        raise Rejected(Reason.TOO_LARGE, f"{num_elements} elements, more than max_elements {wanted.max_elements}")
    _lighten(tree)
    alive = list(tree.iter())  # lxml makes an element's Python object anew at every visit unless one is held
    metadata = read_metadata(tree, url)
    page = read_page(tree, url, not rules.remove_html, not rules.normalize_whitespace)
    del alive
    for element in tree.iter("time"):
        element.tag = "span"  # trafilatura deletes <time> with its words, also in the middle of a sentence
    extracted = bare_extraction(tree, include_comments=False, output_format="xml")
    body = getattr(extracted, "body", None)
    kept = main_blocks(page, body) if body is not None else []
    kept = kept or [block for block in page.blocks if not block.chrome]
    references = main_references(page, kept)
    kept = with_captions(page, kept, references)
    return Content(page, kept or _titles(page, references, metadata), _with_cover(references, metadata), metadata)


def _read_fragment(markup: str, url: str, rules: CleaningRules) -> Content:
    """Read HTML that is content throughout: rendered Markdown, or a text field with tags in it."""
    tree = html.document_fromstring(f"<html><body>{markup}</body></html>")
    page = read_page(tree, url, not rules.remove_html, not rules.normalize_whitespace)
    title = next((block.text for block in page.blocks if block.kind == "heading"), None)
    return Content(page, page.blocks, main_references(page, page.blocks), Metadata(title=title))


def _lighten(tree: Element) -> None:
    """Drop what no reader needs before trafilatura copies the tree several times; JSON-LD stays, it reads that."""
    etree.strip_elements(tree, *HEAVY, with_tail=False)
    for script in tree.iter("script"):
        if script.get("type") != "application/ld+json":
            script.text = None


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


def compose(blocks: Sequence[Block], rules: CleaningRules) -> Composed:
    """Clean and mask each block, drop the empty ones, join by a blank line."""
    hits: Counter[str] = Counter()
    kept: list[Block] = []
    ranges: list[tuple[int, int]] = []
    texts: list[str] = []
    start = 0
    for block in blocks:
        raw = block.text if rules.remove_html or block.markup is None else block.markup
        text, changes = clean_block(raw, block.kind, rules)
        hits.update(changes)
        if text.strip():
            kept.append(block)
            texts.append(text)
            ranges.append((start, start + len(text)))
            start += len(text) + len(SEPARATOR)
    return Composed(SEPARATOR.join(texts), kept, ranges, hits)


def _row(
    content: Content, composed: Composed, row: Mapping[str, Any], rules: CleaningRules, wanted: ExtractSettings
) -> dict[str, Any]:
    text = composed.text
    if len(text) < wanted.min_chars and not content.references:
        raise Rejected(Reason.TOO_SHORT, f"{len(text)} characters, fewer than min_chars {wanted.min_chars}")
    language, language_score = identify(text, content.metadata.language)
    if wanted.languages and language not in wanted.languages:
        raise Rejected(
            Reason.WRONG_LANGUAGE, f"{language} ({language_score:.2f}), not among {', '.join(wanted.languages)}"
        )
    quality = measure(text, [text[start:end] for start, end in composed.ranges], language)
    if quality.score < wanted.min_quality:
        raise Rejected(Reason.LOW_QUALITY, f"score {quality.score:.2f}, less than min_quality {wanted.min_quality}")
    digest = ids.text_sha256(text)
    return {
        "document_id": ids.document_id(row["url"], digest),
        "page_id": row["page_id"],
        "url": row["url"],
        "source": row.get("source"),
        "source_class": row.get("source_class"),
        "fetched_at": row.get("fetched_at"),
        "title": _clean_line(content.metadata.title, rules),
        "author": _clean_line(content.metadata.author, rules),
        "date": content.metadata.date,
        "language": language,
        "language_score": round(language_score, 4),
        "text": text,
        "text_sha256": digest,
        "analysis_text": analysis_text(text, language) if rules.filter_stopwords else None,
        "quality": {"num_chars": quality.num_chars, "num_words": quality.num_words, "score": quality.score},
        "blocks": [
            {"kind": block.kind, "level": block.level, "order": block.order, "start": start, "end": end}
            for block, (start, end) in zip(composed.blocks, composed.ranges, strict=True)
        ],
        "media": [
            _reference(item, block, rules)
            for item, block in zip(
                content.references, anchors(content.references, content.page, composed.blocks), strict=True
            )
        ],
        "licence": row.get("licence") or content.metadata.licence,
        "rights": row.get("rights"),
        "rule_hits": rule_hits(composed.hits),
    }


def _reference(reference: Reference, block: int | None, rules: CleaningRules) -> dict[str, Any]:
    return {
        "url": reference.url,
        "kind": reference.kind,
        "alt": _clean_line(reference.alt, rules),
        "caption": _clean_line(reference.caption, rules),
        "block": block,
    }


def _clean_line(text: str | None, rules: CleaningRules) -> str | None:
    return (clean_block(text, "paragraph", rules)[0] or None) if text else None
