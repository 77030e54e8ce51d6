"""Quality: better texts score higher, for reasons one can name."""

from ingest.quality import measure

PROSE = "The river rises in the hills, and it flows through three towns before it reaches the sea. " * 4
CHINESE = "这条河发源于山区，流经三个城镇，最后注入大海。沿岸的人们以捕鱼为生。" * 3


def score(text: str, language: str = "en") -> float:
    return measure(text, text.split("\n\n"), language).score


def test_prose_beats_lists_of_links_and_symbols() -> None:
    assert score(PROSE) > 0.95
    assert score("Home\n\nAbout\n\nContact\n\nLogin") < 0.75
    assert score("=== ### {{ }} || ## ... <> == \\ ~~ 12 34 5678") < 0.6


def test_chinese_prose_is_prose() -> None:
    assert score(CHINESE, "zh") > 0.95


def test_repetition_costs() -> None:
    block = "Buy our wonderful product today, since it is the best of them all."
    assert score("\n\n".join([block] * 10)) < score(" ".join([block] * 10))


def test_words_are_counted_in_both_scripts() -> None:
    quality = measure("两只猫 and two dogs", ["两只猫 and two dogs"], "zh")
    assert (quality.num_chars, quality.num_words) == (16, 6)


def test_no_words_is_no_quality() -> None:
    assert measure("—", ["—"], None).score == 0.0
