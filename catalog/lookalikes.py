"""Tell two pages of one template, which share most of their words, from two copies of one text.

Copies differ by edits anywhere and by what a site puts around them. Pages of a template differ where the template has
its fields: in few short places, in numbers, in names, in the words of their titles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.minhash import FLAGS, IS_HAN, NAMED, NUMERAL, Codes, contained

FIELD_WORDS = 3  # what fills a field of a template is short
FIELD_CHARS = 6
LEAD = 12  # tokens that a heading takes
TOKENS_PER_FIELD = 100  # one page in so many tokens differs in a counter or a headline; a template's pages in more
MOSTLY = 0.65
SHOUTED = 0.5  # a text with more capitalized words than this is set in capitals


Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """A text's token codes and its title's, in order (see `catalog.minhash.tokenize`)."""

    codes: Codes
    title: Codes


@dataclass(frozen=True)
class _Sides:
    """How each text of many pairs differs from the other: its runs of tokens that the other lacks [sides]."""

    num_runs: Numbers
    num_fields: Numbers  # short runs that hold a number, a name or a word of the title
    heading: NDArray[np.bool_]  # a number among them stands in the lead or in the title


def other_things(pairs: Sequence[tuple[Text, Text]]) -> NDArray[np.bool_]:
    """Return which near-duplicates [pairs] are pages about two things rather than two copies of one text.

    They are if, on both sides, most places where they differ are fields, and the fields are many for the length of the
    text or a number among them stands in the heading.
    """
    texts = [text for pair in pairs for text in pair]
    sides = _sides(texts)
    runs, fields = (counts.reshape(-1, 2) for counts in (sides.num_runs, sides.num_fields))
    lengths = np.array([len(text.codes) for text in texts], np.int64).reshape(-1, 2)
    many = fields.min(axis=1) * TOKENS_PER_FIELD >= lengths.min(axis=1)
    mostly = fields.sum(axis=1) >= MOSTLY * runs.sum(axis=1)
    found: NDArray[np.bool_] = fields.all(axis=1) & mostly & (many | sides.heading.reshape(-1, 2).all(axis=1))
    return found


def _sides(texts: Sequence[Text]) -> _Sides:
    """Compare each text with the one beside it: the first with the second, the third with the fourth."""
    codes, of, begins = _flat([text.codes for text in texts])
    titles, of_title, _ = _flat([text.title for text in texts])
    starts, ends = _runs(~_within(codes, of ^ 1, codes, of), of)
    numeral = (codes & NUMERAL) > 0
    marked = numeral | _within(codes, of, titles, of_title) | _named(codes, of, len(texts))
    longest = np.where((codes[starts] & IS_HAN) > 0, FIELD_CHARS, FIELD_WORDS)
    fields = (ends - starts <= longest) & _any(marked, starts, ends)
    lead = fields & _any(numeral, starts, ends) & (starts - begins[of[starts]] < LEAD)
    titled = ((titles & NUMERAL) > 0) & ~_within(titles, of_title ^ 1, titles, of_title)
    heading = _count(of[starts][lead], len(texts)) + _count(of_title[titled], len(texts))
    return _Sides(_count(of[starts], len(texts)), _count(of[starts][fields], len(texts)), heading > 0)


def _flat(parts: Sequence[Codes]) -> tuple[Codes, Numbers, Numbers]:
    """Put codes after one another; return them with the part that each is of, and where the parts begin."""
    lengths = np.array([len(part) for part in parts], np.int64)
    flat = np.concatenate([np.empty(0, np.uint32), *parts])
    return flat, np.repeat(np.arange(len(parts)), lengths), np.cumsum(lengths) - lengths


def _within(codes: Codes, of: Numbers, among: Codes, among_of: Numbers) -> NDArray[np.bool_]:
    """Return which words stand in the same numbered part of others, flags aside."""
    return contained(_keys(codes, of), np.sort(_keys(among, among_of)))


def _keys(codes: Codes, of: Numbers) -> NDArray[np.uint64]:
    return of.astype(np.uint64) << np.uint64(32) | (codes >> FLAGS).astype(np.uint64)


def _runs(flags: NDArray[np.bool_], of: Numbers) -> tuple[Numbers, Numbers]:
    """Return the half-open ranges of consecutive true values of one part."""
    border = np.diff(of) != 0
    begin = flags & np.concatenate([[True], border | ~flags[:-1]])[: len(flags)]
    end = flags & np.concatenate([border | ~flags[1:], [True]])[: len(flags)]
    return np.flatnonzero(begin), np.flatnonzero(end) + 1


def _any(flags: NDArray[np.bool_], starts: Numbers, ends: Numbers) -> NDArray[np.bool_]:
    counts = np.concatenate([[0], np.cumsum(flags)])
    return counts[ends] > counts[starts]


def _named(codes: Codes, of: Numbers, num_parts: int) -> NDArray[np.bool_]:
    """Return which tokens are capitalized, unless their whole text is."""
    named = (codes & NAMED) > 0
    shouted = _count(of[named], num_parts) >= SHOUTED * _count(of, num_parts)
    return named & ~shouted[of]


def _count(of: Numbers, num_parts: int) -> Numbers:
    return np.bincount(of, minlength=num_parts)
