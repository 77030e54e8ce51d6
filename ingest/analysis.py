"""The analysis column: a text's words without stop words, for search and statistics, never for training."""

import re
import runpy
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

WORD = re.compile(r"\w+(?:['’]\w+)*")
CONTRACTION = re.compile(r"(\w+?)(n't|'\w+)")
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def analysis_text(text: str, language: str | None) -> str:
    """Return the words of a text that are no stop words of its language, joined by spaces."""
    return content_words(words(text), language)


def content_words(found: Iterable[str], language: str | None) -> str:
    """Return those words that are no stop words of a language, joined by spaces."""
    stops = stop_words(language or "en")
    return " ".join(word for word in found if not _is_stop(word.lower().replace("’", "'"), stops))


def _is_stop(word: str, stops: frozenset[str]) -> bool:
    parts = CONTRACTION.fullmatch(word)
    return word in stops or (parts is not None and parts[1] in stops and parts[2] in stops)


def words(text: str) -> list[str]:
    """Cut a text into words; Chinese is segmented by jieba's dictionary."""
    found: list[str] = []
    for word in WORD.findall(text):
        found.extend(_segment(word) if CHINESE.search(word) else [word])
    return found


def _segment(text: str) -> list[str]:
    import rjieba  # its dictionary takes 0.1 s to load, and most pages need none of it

    return [word for word in rjieba.cut(text) if not word.isspace()]


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return spaCy's stop words (what its `is_stop` says) of an ISO 639-1 language; none where spaCy has no list.

    Their file is read by itself: importing spaCy takes seconds and half a gigabyte, since it brings torch.
    """
    spec = find_spec("spacy")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "lang" / language / "stop_words.py"
    return frozenset(runpy.run_path(str(path))["STOP_WORDS"]) if path.is_file() else frozenset()
