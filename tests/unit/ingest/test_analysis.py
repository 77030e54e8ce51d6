"""The analysis column: words without stop words."""

from ingest.analysis import analysis_text, stop_words, words


def test_stop_words_go_and_the_rest_stays_in_order() -> None:
    assert analysis_text("The cat sat on the mat, and it isn't ours.", "en") == "cat sat mat"


def test_chinese_is_segmented() -> None:
    assert words("安装手册说明") == ["安装", "手册", "说明"]
    assert analysis_text("我们的安装手册", "zh") == "安装 手册"


def test_the_lists_are_those_of_spacy() -> None:
    assert {"the", "and"} <= stop_words("en")
    assert "的" in stop_words("zh")
    assert stop_words("xx-none") == frozenset()


def test_a_language_without_a_list_keeps_its_words() -> None:
    assert analysis_text("the cat", "la") == analysis_text("the cat", "la") != ""
