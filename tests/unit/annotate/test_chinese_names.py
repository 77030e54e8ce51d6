"""What the rules make of the words that a recogniser found."""

import pytest

from annotate.chinese_names import find_names
from annotate.lac import Word


def words(*pieces: str) -> tuple[str, list[Word]]:
    """Build a sentence from `word/TAG` pieces, all certain, or as certain as `word/TAG/0.4` says."""
    made, text = [], ""
    for piece in pieces:
        word, tag, *score = piece.split("/")
        made.append(Word(len(text), len(text) + len(word), tag, float(score[0]) if score else 1.0))
        text += word
    return text, made


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (("亚当/PER", "·/w", "斯密/PER", "的/u"), ["亚当·斯密"]),
        (("由/p", "艾萨克·牛顿/PER"), ["艾萨克·牛顿"]),
        (("由艾萨克·牛顿/PER",), ["艾萨克·牛顿"]),
        (("作家/n", "Johan/PER", " /w", "Turi/PER", "的/u"), ["Johan Turi"]),
        (("托勒密/PER", "(/w", "Ptolemy/nz", ")/w"), ["托勒密", "Ptolemy"]),
        (("古/a", "希腊/LOC", "文化/n"), ["古希腊"]),
        (("希腊/LOC", "人/n"), []),
        (("希腊/LOC", "文/n"), []),
        (("拱北/LOC", "隧道/n"), ["拱北隧道"]),
        (("慕尼黑县北部/LOC", "有/v"), ["慕尼黑县"]),
        (("北部/LOC",), ["北部"]),
        (("《/w", "红楼/LOC", "梦/n", "》/w", "在/p", "北京/LOC"), ["北京"]),
        (("三国/LOC", "朝鲜族/ORG", "佛教/ORG", "\n/PER"), []),
        (("也许/d", "张三/PER/0.2", "上海/LOC/0.4"), ["上海"]),
    ],
)
def test_names_of_a_sentence(pieces: tuple[str, ...], expected: list[str]) -> None:
    text, found = words(*pieces)
    assert [text[name.start : name.end] for name in find_names(text, found)] == expected


def test_an_alias_has_the_label_of_its_name() -> None:
    text, found = words("波利尼西亚航海学会/ORG", "（/w", "Polynesian/nz", " /w", "Society/nz", "，/w", "简称/v")
    names = [(text[name.start : name.end], name.label) for name in find_names(text, found)]
    assert names == [("波利尼西亚航海学会", "ORGANIZATION"), ("Polynesian Society", "ORGANIZATION")]
