"""Signals of quality as Gopher (arXiv 2112.11446, appendix A.1) and C4 (arXiv 1910.10683, section 2.2) define them."""

import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingest.analysis import CHINESE, stop_words
from ingest.quality_settings import Bounds, Signal

Signals: TypeAlias = Mapping[str, float | int | None]

GOPHER_STOPS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
CHINESE_STOPS = frozenset("的是在不了有和这为以就也与对中")
POLICY = re.compile(r"terms of use|privacy policy|cookie policy|uses? (?:of )?cookies|隐私政策|使用条款|服务条款")
BULLETS = ("•", "-", "*", "·", "●", "■", "‣", "–")
ELLIPSES = ("...", "…")
ELLIPSIS = re.compile(r"\.{3}|…+")
TERMINAL = (".", "!", "?", '"', "”", "。", "！", "？", "」", "』")
SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"'”’)]|$)|[。！？]+")
MIN_LINE_WORDS = 5  # of C4
MIN_LINE_CHARS = 8  # about as much in Chinese
BASE = np.uint64(0x9E3779B97F4A7C15)


def measure_signals(text: str, words: Sequence[str], language: str | None) -> Signals:
    """Measure a text of which `words` are the words, in order; None where a signal has no meaning for it.

    Fractions are of lines, paragraphs or characters of words, as their names say; Chinese words are a dictionary's.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    return {
        "num_words": len(words),
        "mean_word_length": _mean_word_length(words),
        "symbol_to_word_ratio": _ratio(max(text.count("#"), len(ELLIPSIS.findall(text))), len(words)),
        "alpha_word_fraction": _ratio(sum(word.isalpha() or any(map(str.isalpha, word)) for word in words), len(words)),
        "num_stop_words": _stops(words, language),
        **_lines(lines),
        **_duplicates("line", lines),
        **_duplicates("paragraph", [part for part in text.split("\n\n") if part.strip()]),
        **_ngrams(words),
        "num_sentences": len(SENTENCE_END.findall(text)),
        "num_curly_braces": text.count("{") + text.count("}"),
        "num_lorem_ipsum": text.lower().count("lorem ipsum"),
        "compression_ratio": _compression(text),
    }


def out_of_bounds(signals: Signals, bounds: Mapping[Signal, Bounds]) -> str | None:
    """Name the first signal outside its bounds, with its value and the bound; None where all are inside."""
    for name, bound in bounds.items():
        value = signals[name]
        if value is not None and bound.min is not None and value < bound.min:
            return f"{name} {value:.4g}, less than extract.quality's {bound.min:g}"
        if value is not None and bound.max is not None and value > bound.max:
            return f"{name} {value:.4g}, more than extract.quality's {bound.max:g}"
    return None


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _mean_word_length(words: Sequence[str]) -> float | None:
    """Return the mean length of words, of scripts that write spaces between them only; None for mostly Chinese text."""
    lengths = [len(word) for word in words if not CHINESE.search(word)]
    return _ratio(sum(lengths), len(lengths)) if len(lengths) * 2 >= len(words) > 0 else None


def _stops(words: Sequence[str], language: str | None) -> int | None:
    """Count the different stop words: Gopher's eight for English, frequent particles for Chinese, else spaCy's list."""
    listed = {"en": GOPHER_STOPS, "zh": CHINESE_STOPS}.get(language or "en") or stop_words(language or "en")
    return len(listed & {word.lower() for word in words}) if listed else None


def _lines(lines: Sequence[str]) -> dict[str, float | int]:
    lower = [line.lower() for line in lines]
    short = sum(map(_is_short, lines))
    return {
        "bullet_line_fraction": _ratio(sum(line.lstrip().startswith(BULLETS) for line in lines), len(lines)),
        "ellipsis_line_fraction": _ratio(sum(line.rstrip().endswith(ELLIPSES) for line in lines), len(lines)),
        "terminal_line_fraction": _ratio(sum(line.rstrip().endswith(TERMINAL) for line in lines), len(lines)),
        "short_line_fraction": _ratio(short, len(lines)),
        "num_javascript_lines": sum("javascript" in line for line in lower),
        "num_policy_lines": sum(POLICY.search(line) is not None for line in lower),
    }


def _is_short(line: str) -> bool:
    chinese = sum(map(len, CHINESE.findall(line)))
    return chinese < MIN_LINE_CHARS if chinese else len(line.split()) < MIN_LINE_WORDS


def _duplicates(what: str, parts: Sequence[str]) -> dict[str, float]:
    """Return the shares of lines or paragraphs, and of their characters, that repeat an earlier one."""
    again = [(count - 1, len(part)) for part, count in Counter(parts).items()]
    return {
        f"duplicate_{what}_fraction": _ratio(sum(count for count, _ in again), len(parts)),
        f"duplicate_{what}_char_fraction": _ratio(sum(count * size for count, size in again), sum(map(len, parts))),
    }


def _ngrams(words: Sequence[str]) -> dict[str, float]:
    """Return the shares of the words' characters in the commonest 2- to 4-gram, and in repeats of 5- to 10-grams."""
    numbers: dict[str, int] = {}
    hashes = np.fromiter((numbers.setdefault(word, len(numbers) + 1) for word in words), np.uint64, len(words))
    singles, lengths = hashes, np.fromiter(map(len, words), np.int64, len(words))
    total = int(lengths.sum())
    found: dict[str, float] = {}
    for n in range(2, 11):
        hashes = hashes[:-1] * BASE + singles[n - 1 :] if len(words) >= n else hashes[:0]
        if n <= 4:
            found[f"top_{n}_gram_char_fraction"] = _ratio(_commonest(hashes, lengths, n), total)
        else:
            found[f"duplicate_{n}_gram_char_fraction"] = _ratio(_repeated(hashes, lengths, n), total)
    return found


def _commonest(hashes: NDArray[np.uint64], lengths: NDArray[np.int64], n: int) -> int:
    """Count the characters in all occurrences of the commonest n-gram, 0 where none occurs twice."""
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    if not len(counts) or counts.max() < 2:
        return 0
    sizes = [int(lengths[at : at + n].sum()) for at in first[counts == counts.max()]]
    return max(sizes) * int(counts.max())


def _repeated(hashes: NDArray[np.uint64], lengths: NDArray[np.int64], n: int) -> int:
    """Count the characters of words covered by n-grams that occurred before, each character once."""
    _, first = np.unique(hashes, return_index=True)
    edges = np.zeros(len(lengths) + 1, np.int64)
    again = np.ones(len(hashes), bool)
    again[first] = False
    starts = np.flatnonzero(again)
    edges[starts] += 1
    np.subtract.at(edges, starts + n, 1)
    return int(lengths[np.cumsum(edges[:-1]) > 0].sum())


def _compression(text: str) -> float:
    """Return the size of the text under DEFLATE as a share of its UTF-8 bytes: low for text that repeats itself."""
    raw = text.encode("utf-8", "replace")
    return _ratio(len(zlib.compress(raw)), len(raw))
