"""Tell two pages of one template, which share most of their words, from two copies of one text.

Copies differ by edits anywhere and by what a site puts around them. Pages of a template differ where the template has
its fields: in few short places, in numbers, in names, in the words of their titles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.minhash import FLAGS, IS_HAN, NAMED, NUMERAL, Codes

FIELD_WORDS = 3  # what fills a field of a template is short
FIELD_CHARS = 6
LEAD = 12  # tokens that a heading takes
TOKENS_PER_FIELD = 100  # one page in so many tokens differs in a counter or a headline; a template's pages in more
MOSTLY = 0.65
SHOUTED = 0.5  # a text with more capitalized words than this is set in capitals


@dataclass(frozen=True)
class Text:
    """A text's token codes and its title's, in order (see `catalog.minhash.tokenize`)."""

    codes: Codes
    title: Codes


@dataclass(frozen=True)
class _Side:
    """How one text differs from the other: its runs of tokens that the other lacks."""

    num_runs: int
    num_fields: int  # short runs that hold a number, a name or a word of the title
    heading: bool  # a number among them stands in the lead or in the title


def other_things(one: Text, other: Text) -> bool:
    """Return whether two near-duplicates are pages about two things rather than two copies of one text.

    They are if, on both sides, most places where they differ are fields, and the fields are many for the length of the
    text or a number among them stands in the heading.
    """
    sides = (_side(one, other), _side(other, one))
    if not all(side.num_fields for side in sides):
        return False
    if sum(side.num_fields for side in sides) < MOSTLY * sum(side.num_runs for side in sides):
        return False
    length = min(len(one.codes), len(other.codes))
    many = min(side.num_fields for side in sides) * TOKENS_PER_FIELD >= length
    return many or all(side.heading for side in sides)


def _side(text: Text, other: Text) -> _Side:
    codes, words = text.codes, text.codes >> FLAGS
    starts, ends = _runs(~np.isin(words, other.codes >> FLAGS))
    if not len(starts):
        return _Side(0, 0, heading=False)
    numeral = (codes & NUMERAL) > 0
    marked = numeral | np.isin(words, text.title >> FLAGS) | _named(codes)
    longest = np.where((codes[starts] & IS_HAN) > 0, FIELD_CHARS, FIELD_WORDS)
    fields = (ends - starts <= longest) & _any(marked, starts, ends)
    numbers = fields & _any(numeral, starts, ends)
    titled = np.isin(text.title[(text.title & NUMERAL) > 0] >> FLAGS, other.title >> FLAGS, invert=True)
    return _Side(len(starts), int(fields.sum()), heading=bool((numbers & (starts < LEAD)).any() or titled.any()))


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the half-open ranges of consecutive true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges[::2], edges[1::2]


def _any(flags: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    counts = np.concatenate([[0], np.cumsum(flags)])
    return counts[ends] > counts[starts]


def _named(codes: Codes) -> NDArray[np.bool_]:
    """Return which tokens are capitalized, unless the whole text is."""
    named = (codes & NAMED) > 0
    return named if named.mean() < SHOUTED else np.zeros(len(codes), np.bool_)
