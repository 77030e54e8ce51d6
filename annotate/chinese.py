"""Chinese without a spaCy model: a tokenizer that gives words, parts of speech, sentences and names in one pass."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from spacy.tokens import Doc
from spacy.util import DummyTokenizer

from annotate.chinese_names import LABELS, Name, find_names
from annotate.found import FOUND, Found
from annotate.lac import Lac, Word

if TYPE_CHECKING:
    from spacy.language import Language

MAX_CHARACTERS = 200  # of one sentence; longer ones are cut at a comma, or else anywhere
SENTENCE = re.compile(r"[^。！？!?；;…\n]*(?:[。！？!?；;…]+[”’」』）)]*|\n\s*|$)", re.DOTALL)
CLAUSE = re.compile(
    rf".{{1,{MAX_CHARACTERS}}}$|.{{1,{MAX_CHARACTERS}}}(?<=[，,、：:\s])|.{{1,{MAX_CHARACTERS}}}", re.DOTALL
)
# LAC's tags (https://github.com/baidu/lac) → universal parts of speech
PARTS = {
    "n": "NOUN", "vn": "NOUN", "an": "NOUN", "nz": "PROPN", "nw": "PROPN", "PER": "PROPN", "LOC": "PROPN",
    "ORG": "PROPN", "TIME": "NUM", "t": "NUM", "m": "NUM", "q": "NUM", "v": "VERB", "vd": "VERB", "a": "ADJ",
    "ad": "ADV", "d": "ADV", "s": "ADV", "f": "ADP", "p": "ADP", "r": "PRON", "c": "CCONJ", "u": "PART", "xc": "X",
    "w": "PUNCT",
}  # fmt: skip
TAGS = {label: tag for tag, label in LABELS.items()}


class LacTokenizer(DummyTokenizer):
    """Turns a text into a Doc with words, tags, sentences and entities; each name is one token."""

    def __init__(self, lac: Lac, nlp: "Language") -> None:
        self._lac = lac
        self._vocab = nlp.vocab

    def __call__(self, text: str) -> Doc:
        """Analyse one text; its sentences make batches of their own, so that its company never changes it."""
        pieces = list(split_sentences(text))
        words: list[str] = []
        tags: list[str] = []
        entities: list[str] = []
        begins: list[bool | int | None] = []
        scores: list[float] = []
        margins = []
        for piece, found in zip(pieces, self._lac.words(pieces), strict=True):
            first = len(words)
            for word, name in _tokens(found, find_names(piece, found)):
                begins.append(len(words) == first)
                words.append(piece[word.start : word.end])
                tags.append(word.tag)
                entities.append(f"B-{name.label}" if name else "O")
                scores += [name.score] if name else []
            margins.append((first, len(words), max(0.0, 2 * min(word.score for word in found) - 1)))
        parts = [_part(word, tag) for word, tag in zip(words, tags, strict=True)]
        spaces = [False] * len(words)
        doc = Doc(self._vocab, words, spaces, tags=tags, pos=parts, sent_starts=begins, ents=entities)
        doc.user_data[FOUND] = Found(tuple(scores), (), tuple(margins))
        return doc


def make_tokenizer() -> "Callable[[Language], LacTokenizer]":
    """Return what a pipeline's config.cfg names as its tokenizer `headrace.lac.v1`."""
    from annotate.nlp import load_lac

    return lambda nlp: LacTokenizer(load_lac(), nlp)


def split_sentences(text: str) -> Iterator[str]:
    """Cut a text into sentences of at most 200 characters, nothing left out."""
    for sentence in SENTENCE.finditer(text):
        yield from CLAUSE.findall(sentence[0])


def _tokens(words: Sequence[Word], names: Sequence[Name]) -> Iterator[tuple[Word, Name | None]]:
    """Yield the words, those that make a name as one; a word that a name cuts keeps what is left of it."""
    place = 0
    waiting = list(reversed(names))
    for word in words:
        while place < word.end:
            name = waiting[-1] if waiting and waiting[-1].start < word.end else None
            if name is None:
                yield Word(place, word.end, word.tag, word.score), None
                place = word.end
                continue
            if place < name.start:
                yield Word(place, name.start, word.tag, word.score), None
            yield Word(name.start, name.end, TAGS[name.label], name.score), waiting.pop()
            place = name.end


def _part(word: str, tag: str) -> str:
    return "SPACE" if word.isspace() else PARTS.get(tag, "X")
