"""One payload → one document: parse, choose the main content, clean, measure. Pure; bytes in, a row out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog import ids
from catalog.schema import Reason
from ingest.analysis import content_words, words
from ingest.blocks import Block, Reference
from ingest.clean import clean_block, readable, rule_hits
from ingest.content import anchors
from ingest.hints import Hints, hints_from
from ingest.language import SAMPLE, identify
from ingest.metadata import Metadata
from ingest.quality import measure
from ingest.reading import Content, read_content
from ingest.rejected import Rejected
from ingest.settings import CleaningRules, ExtractSettings
from ingest.signals import measure_signals, out_of_bounds

SEPARATOR = "\n\n"
MAX_UNDECODED = 0.1  # share of U+FFFD above which a text is noise


@dataclass(frozen=True)
class Composed:
    """The cleaned text, and the half-open code-point range in it of each block that is left."""

    text: str
    blocks: Sequence[Block]
    ranges: Sequence[tuple[int, int]]
    hits: Counter[str]
    language: str | None
    language_score: float


def read_document(
    payload: bytes, kind: str, row: Mapping[str, Any], rules: CleaningRules, wanted: ExtractSettings
) -> dict[str, Any]:
    """Turn an html, markdown, text or pdf payload into a `documents` row (without batch_id); raise Rejected.

    `row` gives url, content_type and what the crawl knows of the page: page_id, source, source_class, fetched_at,
    licence, rights.
    """
    limit = "max_pdf_bytes" if kind == "pdf" else "max_html_bytes"
    if len(payload) > (most := getattr(wanted, limit)):
        raise Rejected(Reason.TOO_LARGE, f"{len(payload)} bytes of {kind}, more than {limit} {most}")
    content = read_content(payload, kind, row["url"], row.get("content_type"), rules, wanted)
    content = _with_hints(content, hints_from(row.get("hints")))
    composed = compose(content.kept, rules, content.metadata.language)
    if not composed.text:
        raise Rejected(Reason.EMPTY_TEXT, "no text and no titled media in the page")
    undecoded = composed.text.count("\ufffd")
    if undecoded > MAX_UNDECODED * len(composed.text):
        declared = row.get("content_type") or "nothing"
        detail = f"{undecoded} of {len(composed.text)} characters cannot be decoded (declared: {declared})"
        raise Rejected(Reason.DECODE_ERROR, detail)
    return _row(content, composed, row, rules, wanted)


def _with_hints(content: Content, hints: Hints) -> Content:
    """Fill what a page does not say of itself by what its list, feed or table says, and add the media named there."""
    told = Metadata(hints.title or None, hints.author or None, hints.date or None, hints.language or None)
    shown = {reference.url for reference in content.references}
    end = len(content.page.blocks)
    named = [item for item in hints.media if item.url not in shown]
    added = [Reference(item.url, item.kind, item.alt or None, None, end) for item in named]
    return replace(content, references=[*content.references, *added], metadata=content.metadata.over(told))


def compose(blocks: Sequence[Block], rules: CleaningRules, declared: str | None = None) -> Composed:
    """Tell the language, clean and mask each block, drop the empty ones, join by a blank line."""
    sample = SEPARATOR.join(block.text for block in blocks)[:SAMPLE]
    language, score = identify(readable(sample, rules), declared)
    hits: Counter[str] = Counter()
    kept: list[Block] = []
    ranges: list[tuple[int, int]] = []
    texts: list[str] = []
    start = 0
    for block in blocks:
        raw = block.text if rules.remove_html or block.markup is None else block.markup
        text, changes = clean_block(raw, block.kind, rules, language)
        hits.update(changes)
        if text.strip():
            kept.append(block)
            texts.append(text)
            ranges.append((start, start + len(text)))
            start += len(text) + len(SEPARATOR)
    return Composed(SEPARATOR.join(texts), kept, ranges, hits, language, round(score, 4))


def _row(
    content: Content, composed: Composed, row: Mapping[str, Any], rules: CleaningRules, wanted: ExtractSettings
) -> dict[str, Any]:
    text = composed.text
    if len(text) < wanted.min_chars and not content.references:
        raise Rejected(Reason.TOO_SHORT, f"{len(text)} characters, fewer than min_chars {wanted.min_chars}")
    language, language_score = composed.language, composed.language_score
    if wanted.languages and language not in wanted.languages:
        raise Rejected(
            Reason.WRONG_LANGUAGE, f"{language} ({language_score:.2f}), not among {', '.join(wanted.languages)}"
        )
    quality = measure(text, [text[start:end] for start, end in composed.ranges], language)
    if quality.score < wanted.min_quality:
        raise Rejected(Reason.LOW_QUALITY, f"score {quality.score:.2f}, less than min_quality {wanted.min_quality}")
    found = words(text)
    signals = measure_signals(text, found, language)
    if (broken := out_of_bounds(signals, wanted.quality)) is not None:
        raise Rejected(Reason.LOW_QUALITY, broken)
    digest = ids.text_sha256(text)
    return {
        "document_id": ids.document_id(row["url"], digest),
        "page_id": row["page_id"],
        "url": row["url"],
        "source": row.get("source"),
        "source_class": row.get("source_class"),
        "fetched_at": row.get("fetched_at"),
        "title": _clean_line(content.metadata.title, rules, composed),
        "author": _clean_line(content.metadata.author, rules, composed),
        "date": content.metadata.date,
        "language": language,
        "language_score": language_score,
        "text": text,
        "text_sha256": digest,
        "analysis_text": content_words(found, language) if rules.filter_stopwords else None,
        "quality": {"num_chars": quality.num_chars, "num_words": quality.num_words, "score": quality.score},
        "blocks": [
            {"kind": block.kind, "level": block.level, "order": block.order, "start": start, "end": end}
            for block, (start, end) in zip(composed.blocks, composed.ranges, strict=True)
        ],
        "media": [
            _reference(item, block, rules, composed)
            for item, block in zip(
                content.references, anchors(content.references, content.page, composed.blocks), strict=True
            )
        ],
        "licence": row.get("licence") or content.metadata.licence,
        "rights": row.get("rights"),
        "rule_hits": rule_hits(composed.hits),
        "signals": signals,
    }


def _reference(reference: Reference, block: int | None, rules: CleaningRules, composed: Composed) -> dict[str, Any]:
    return {
        "url": reference.url,
        "kind": reference.kind,
        "alt": _clean_line(reference.alt, rules, composed),
        "caption": _clean_line(reference.caption, rules, composed),
        "block": block,
    }


def _clean_line(text: str | None, rules: CleaningRules, composed: Composed) -> str | None:
    """Clean what stands beside the text as a caption is cleaned; its changes count as the document's."""
    cleaned, changes = clean_block(text or "", "caption", rules, composed.language)
    composed.hits.update(changes)
    return cleaned or None
