"""Quality by measurable signals, after Gopher (arXiv 2112.11446, table A1) and C4 (arXiv 1910.10683, section 2.2)."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ingest.analysis import CHINESE, stop_words

TOKEN = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+(?:['’]\w+)*"
)
SYMBOL = re.compile(r"[#{}<>|\\^~=_*]|\.\.\.|…|�")
SENTENCE_END = re.compile(r"[.!?。！？…:：;；][\"'”’)\]」』）\s]*$")
MIN_STOPS = 2


@dataclass(frozen=True)
class Quality:
    """Size and worth of one text; `score` is the mean of its signals, each 0 (bad) to 1 (good)."""

    num_chars: int
    num_words: int  # words of spaced scripts plus Chinese characters
    score: float


def measure(text: str, blocks: Sequence[str], language: str | None) -> Quality:
    """Measure a text made of the given blocks."""
    tokens = TOKEN.findall(text)
    if not tokens:
        return Quality(len(text), 0, 0.0)
    signals = (
        min(1.0, len(tokens) / 50),  # Gopher: at least 50 words
        _word_length(tokens),
        1.0 - min(1.0, 10 * len(SYMBOL.findall(text)) / len(tokens)),  # Gopher: symbols under 0.1 a word
        1.0 - sum(map(str.isdigit, tokens)) / len(tokens),  # Gopher: 80 % of words have a letter
        _ended(blocks),  # C4: lines end in a terminal mark
        1.0 - _repeated(blocks),  # Gopher: duplicate paragraphs
        _stops(text, tokens, language),
    )
    return Quality(len(text), len(tokens), round(sum(signals) / len(signals), 4))


def _word_length(tokens: Sequence[str]) -> float:
    """Give 1 for a mean length of 3 to 10 letters (Gopher), falling to 0 at 20; Chinese characters are words."""
    spaced = [len(token) for token in tokens if len(token) > 1 or token.isascii()]
    if not spaced or len(spaced) * 2 < len(tokens):
        return 1.0
    mean = sum(spaced) / len(spaced)
    return mean / 3 if mean < 3 else max(0.0, 1.0 - max(0.0, mean - 10) / 10)


def _ended(blocks: Sequence[str]) -> float:
    total = sum(map(len, blocks))
    return sum(len(block) for block in blocks if SENTENCE_END.search(block)) / total if total else 0.0


def _repeated(blocks: Sequence[str]) -> float:
    counts = Counter(blocks)
    total = sum(map(len, blocks))
    return sum(len(block) * (count - 1) for block, count in counts.items()) / total if total else 0.0


def _stops(text: str, tokens: Sequence[str], language: str | None) -> float:
    """Give 1 where at least two different stop words occur (Gopher), or where the language has no list."""
    stops = stop_words(language or "en")
    if not stops:
        return 1.0
    if CHINESE.search(text):
        found = sum(char in text for char in "的是在不了有和这为以")
        if found >= MIN_STOPS:
            return 1.0
    return min(1.0, len({token.lower() for token in tokens} & stops) / MIN_STOPS)
