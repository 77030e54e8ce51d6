"""Cleaning rules: pure, idempotent functions on the text of one block, each with a name and a hit count."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

import ftfy

from ingest.pii import mask
from ingest.settings import CleaningRules

# Changes that repair text; those that would flatten good typography (quotes, full-width punctuation) stay off.
FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # the parser has done it; a second time would eat code about HTML
    uncurl_quotes=False,
    fix_character_width=False,
    normalization="NFC",
    explain=False,
)
MAX_ROUNDS = 8  # a repair may uncover another (twice-encoded text); nearly always two or three are enough
# A zero-width joiner is invisible too, except where it joins: after an emoji, or in scripts that need it.
INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\u180e]|(?<![\u200d\ufe0f\U0001f000-\U0001faff\u0600-\u0dff])\u200d+")
SPACES = re.compile(r"[^\S\n]+")
LINE_EDGES = re.compile(r" *\n *")
BLANK_LINES = re.compile(r"\n{2,}")
LINE_ENDS = re.compile(r"[^\S\n]+(?=\n|$)")
BREAKS = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")


def clean_block(text: str, kind: str, rules: CleaningRules) -> tuple[str, Counter[str]]:
    """Apply the enabled rules to one block, in order, until nothing changes; return it with the changes by rule."""
    hits: Counter[str] = Counter()
    for _ in range(MAX_ROUNDS):
        before = text
        if rules.fix_unicode:
            text = _apply(fix_unicode, text, "fix_unicode", hits)
        if rules.normalize_whitespace:
            text = _apply(
                normalize_code if kind == "code" else normalize_whitespace, text, "normalize_whitespace", hits
            )
        if rules.mask_pii:
            text, masked = mask(text, rules.pii_kinds)
            hits.update({f"pii_{name}": count for name, count in masked.items()})
        if text == before:
            break
    return text, hits


def _apply(rule: Callable[[str], str], text: str, name: str, hits: Counter[str]) -> str:
    changed = rule(text)
    hits[name] += changed != text
    return changed


def fix_unicode(text: str) -> str:
    """Repair mojibake, control characters, surrogates and ligatures, and compose to NFC (ftfy)."""
    if text.isascii() and text.isprintable():
        return text
    for _ in range(MAX_ROUNDS):
        fixed = ftfy.fix_text(text, FTFY)
        if fixed == text:
            break
        text = fixed
    return text


def normalize_whitespace(text: str) -> str:
    """Reduce runs of spaces to one, drop invisible characters and empty lines, trim every line; keep line breaks."""
    if " ".join(text.split()) == text and INVISIBLE.search(text) is None:  # what the walk rendered is mostly clean
        return text
    text = INVISIBLE.sub("", BREAKS.sub("\n", text))
    return BLANK_LINES.sub("\n", LINE_EDGES.sub("\n", SPACES.sub(" ", text))).strip()


def normalize_code(text: str) -> str:
    """Trim the ends of lines and the empty lines around a block of code; keep its indentation and inner blank lines."""
    return LINE_ENDS.sub("", BREAKS.sub("\n", INVISIBLE.sub("", text))).strip("\n")


def rule_hits(hits: Mapping[str, int]) -> list[dict[str, object]]:
    """Turn counts by rule into rows of the documents' `rule_hits` column, sorted by rule."""
    return [{"rule": rule, "hits": count} for rule, count in sorted(hits.items()) if count]
