"""What cleaning rules do that no single pattern can: pure, idempotent functions on the text of one block."""

import html
import re
from collections.abc import Callable
from typing import TypeAlias

import ftfy
import regex

Transform: TypeAlias = Callable[[str], str]

# Changes that repair text; those that would flatten good typography (quotes, full-width punctuation) stay off.
FTFY = ftfy.TextFixerConfig(
    unescape_html=False,  # the parser has done it; a second time would eat code about HTML
    uncurl_quotes=False,
    fix_character_width=False,
    normalization="NFC",
    explain=False,
)
MAX_ROUNDS = 8  # a repair may uncover another (twice-encoded text); nearly always two or three are enough
SPACES = re.compile(r"[^\S\n]+")
LINE_EDGES = re.compile(r" *\n *")
BLANK_LINES = re.compile(r"\n{2,}")
LINE_ENDS = re.compile(r"[^\S\n]+(?=\n|$)")
BREAKS = re.compile("\r\n?|[\u2028\u2029\x0b\x0c\x85]")
# A tag with attributes is no mention of a tag: the block holds markup that was escaped once too often.
MARKED = re.compile(r"<\w+\s+(?:style|class|href|src|align|width|color|face|size|id|target)\s*=[^<>]*>", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:a|abbr|b|big|blockquote|br|center|div|em|font|h[1-6]|hr|i|img|li|ol|p|s|small|span|strong|sub|sup|table"
    r"|tbody|td|th|tr|tt|u|ul)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
ENTITY = re.compile(
    r"&(?:nbsp|ensp|emsp|thinsp|quot|apos|amp|ldquo|rdquo|lsquo|rsquo|hellip|mdash|ndash|middot|bull|copy|reg|#0?39|#34"
    r"|#160|#8217|#8220|#8221);"
)
MARKUP_ENTITY = re.compile(r"&(?:lt|gt|#60|#62);")  # where these stand, a text speaks about markup
FULL_WIDTH = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")
WIDE = {",": "，", ";": "；", ":": "：", "?": "？", "!": "！", ".": "。"}
NARROW_MARK = regex.compile(
    r"(?<=[\p{Han}”’」』》）])(?:[,;:](?![)(/\\|,;:])|[?!](?![?!)(\p{Latin}])|\.(?=[\p{Han}“‘「『《]|\n|$))"
)
NARROW_BRACKETS = regex.compile(r"(?<=\p{Han}|[，。！？；：、])\(([^()\n]*\p{Han}[^()\n]*)\)")
SPACED_HAN = regex.compile(r"(?<![\p{Han}] ?)\p{Han}(?: \p{Han}){3,}(?! ?\p{Han})")
GBK_RUN = regex.compile(r"(?=\p{Han})[^\x00-\xff\ufffd\s]{3,}")


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
    """Reduce runs of spaces to one, drop empty lines, trim every line; keep line breaks."""
    if " ".join(text.split()) == text:  # what the walk rendered is mostly clean
        return text
    return BLANK_LINES.sub("\n", LINE_EDGES.sub("\n", SPACES.sub(" ", BREAKS.sub("\n", text)))).strip()


def normalize_code(text: str) -> str:
    """Trim the ends of lines and the empty lines around a block of code; keep its indentation and inner blank lines."""
    return LINE_ENDS.sub("", BREAKS.sub("\n", text)).strip("\n")


def strip_tags(text: str) -> str:
    """Take HTML tags out of a text that holds one with attributes; a text that only names tags keeps them."""
    if "<" not in text or MARKED.search(text) is None:
        return text
    return TAG.sub("", MARKED.sub("", text))


def unescape_entities(text: str) -> str:
    """Decode the entities that were escaped twice; a text about markup, with its &lt; and &gt;, is left alone."""
    if "&" not in text or MARKUP_ENTITY.search(text):
        return text
    return ENTITY.sub(lambda match: html.unescape(match[0]).replace("\u00a0", " "), text)


def narrow_latin(text: str) -> str:
    """Turn full-width letters and digits (Ａ, ７) into ASCII; full-width punctuation is right in Chinese and stays."""
    return FULL_WIDTH.sub(lambda match: "".join(chr(ord(char) - 0xFEE0) for char in match[0]), text)


def widen_punctuation(text: str) -> str:
    """Turn ASCII punctuation between Chinese characters into the full-width marks of GB/T 15834."""
    return str(NARROW_BRACKETS.sub(r"（\1）", NARROW_MARK.sub(lambda match: WIDE[match[0]], text)))


def join_spaced_han(text: str) -> str:
    """Close up four or more Chinese characters that were set wide, one space between each two."""
    return str(SPACED_HAN.sub(lambda match: match[0].replace(" ", ""), text))


def repair_gbk(text: str) -> str:
    """Decode again what was UTF-8 and was read as GBK (涓枃 was 中文), where the result is commoner Chinese by far."""
    return str(GBK_RUN.sub(lambda match: _reread(match[0]), text))


def _reread(run: str) -> str:
    raw = run.encode("gb18030", "ignore")
    reread = raw.decode("utf-8", "ignore")  # the last character of an odd run has lost a byte
    whole = len(reread.encode()) >= 0.75 * len(raw)
    return reread if whole and _common(reread) > 0.9 and _common(run) < 0.6 else run


def _common(text: str) -> float:
    """Return the share of Chinese characters among the 3,755 commonest (GB 2312 level 1: first byte 0xB0 to 0xD7)."""
    lead = [char.encode("gb2312", "ignore")[:1] for char in text if char.isalpha() or "\ue000" <= char <= "\uf8ff"]
    return sum(b"\xb0" <= byte <= b"\xd7" for byte in lead) / len(lead) if lead else 0.0


TRANSFORMS: dict[str, Transform] = {
    "fix_unicode": fix_unicode,
    "normalize_whitespace": normalize_whitespace,
    "normalize_code": normalize_code,
    "strip_tags": strip_tags,
    "unescape_entities": unescape_entities,
    "narrow_latin": narrow_latin,
    "widen_punctuation": widen_punctuation,
    "join_spaced_han": join_spaced_han,
    "repair_gbk": repair_gbk,
}
