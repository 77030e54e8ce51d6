"""Names in a Chinese sentence: what LAC found, put right where its words and its tags are known to go wrong."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from annotate.lac import Word

LABELS = {"PER": "PERSON", "LOC": "LOCATION", "ORG": "ORGANIZATION"}
MIN_SCORE = {"PERSON": 0.55, "LOCATION": 0.3, "ORGANIZATION": 0.3}  # of the least certain character; chosen on dev
TITLES = re.compile(r"《[^《》\n]*》|<[^<>\n]*>|〈[^〈〉\n]*〉")  # a name inside a work's title is part of the title
PEOPLE = re.compile(r"[人族裔语]|文(?![化明学字])")  # after a place: who lives there, what is spoken there
NO_NAME = re.compile(r"[两二三四五六七八九十数多各\d]+国|中西|中外|东西方?|西方|.*[族教]|\W+")
PREPOSITION = re.compile(r"[由与和及被向从对](?=[一-龥]{2,}·)")  # the recogniser draws it into foreign names
LATIN = re.compile(r"[A-ZÀ-ÖØ-Þ][A-Za-zÀ-ÿ.'’-]*(?:[ \u00a0][A-ZÀ-ÖØ-Þ][A-Za-zÀ-ÿ.'’-]*)*")
ALIAS = re.compile(rf"\s?[(（]({LATIN.pattern})(?=[,，;；)）])")
SIDE = re.compile(
    r"(?<=..)(?:[东南西北中]部|东南部|西南部|东北部|西北部|境内|附近|一带)"
)  # part of a place, not of its name
FEATURE = re.compile(r"大桥|隧道|海峡|水库|机场|盆地|高原|平原|半岛|群岛|运河|山脉|湖|河|岛")  # of a place: 拱北 + 隧道


@dataclass(frozen=True)
class Name:
    """One name: its code-point range, label and probability."""

    start: int
    end: int
    label: str
    score: float


def find_names(text: str, words: Sequence[Word]) -> list[Name]:
    """Return the names of one sentence in order, none overlapping another; the longer of two wins."""
    titles = [match.span() for match in TITLES.finditer(text)]
    found: list[Name] = []
    for name in sorted(_candidates(text, words), key=lambda name: (name.start - name.end, name.start)):
        inside = any(start <= name.start and name.end <= end for start, end in titles)
        if not inside and not any(name.start < other.end and other.start < name.end for other in found):
            found.append(name)
    return sorted(found, key=lambda name: name.start)


def _candidates(text: str, words: Sequence[Word]) -> Iterator[Name]:
    for place, word in enumerate(words):
        label = LABELS.get(word.tag)
        if label is None or word.score < MIN_SCORE[label]:
            continue
        start, end = _person(text, words, place) if label == "PERSON" else _place(text, words, place, label)
        if NO_NAME.fullmatch(text, start, end) or (label != "ORGANIZATION" and PEOPLE.match(text, end)):
            continue
        yield Name(start, end, label, word.score)
        alias = ALIAS.match(text, end)
        if alias:  # the same name in its own script: 希巴克斯(Hipparchus，公元前2世纪)
            yield Name(*alias.span(1), label, word.score)


def _person(text: str, words: Sequence[Word], place: int) -> tuple[int, int]:
    """Join the parts of a foreign name: 亚当·斯密 in Chinese, Johan Turi in Latin script."""
    first, last = place, place
    while first > 1 and text[words[first - 1].start : words[first - 1].end] == "·":
        first -= 2
    while last + 2 < len(words) and text[words[last + 1].start : words[last + 1].end] == "·":
        last += 2
    start, end = words[first].start, words[last].end
    for match in LATIN.finditer(text):
        if match.start() < end and start < match.end():
            start, end = min(start, match.start()), max(end, match.end())
    return start + bool(PREPOSITION.match(text, start, end)), end


def _place(text: str, words: Sequence[Word], place: int, label: str) -> tuple[int, int]:
    """Join a place with 古 before it and with the word for what it is after it: 古希腊, 拱北隧道."""
    start, end = words[place].start, words[place].end
    if label == "LOCATION":
        side = SIDE.search(text[start:end])
        if side and side.start() > 1:
            return start, start + side.start()
        start -= start > 0 and text[start - 1] == "古"
        if place + 1 < len(words) and FEATURE.fullmatch(text, words[place + 1].start, words[place + 1].end):
            end = words[place + 1].end
    return start, end
