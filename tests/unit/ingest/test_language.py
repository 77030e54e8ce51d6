"""Language of texts, short and long."""

import pytest

from ingest.language import identify


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("This is a guide to accounting for people who have never done any.", "en"),
        ("我们的安装手册说明如何在计算机上安装系统。", "zh"),
        ("Dies ist ein Leitfaden zur Buchhaltung für Anfänger.", "de"),
        ("漢字かな交じり文です。", "ja"),
    ],
)
def test_the_text_decides(text: str, language: str) -> None:
    found, score = identify(text)
    assert found == language
    assert score > 0.8


def test_a_declaration_wins_over_short_or_unsure_text_only() -> None:
    assert identify("Home", "fr")[0] == "fr"
    assert (
        identify("This is a guide to accounting for people who have never done any of it before. " * 3, "fr")[0] == "en"
    )


def test_a_text_without_letters_has_no_language_of_its_own() -> None:
    assert identify("1234 — 5678", None) == (None, 0.0)
    assert identify("1234", "zh") == ("zh", 0.0)


@pytest.mark.parametrize("text", ["Home", "OK"])
def test_a_few_letters_that_say_nothing_get_no_label(text: str) -> None:
    language, score = identify(text)
    assert language is None
    assert score < 0.1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好", "zh"),
        ("使用 git commit 提交代码", "zh"),
        ("安装 Python 3.11 请运行 pip install", "zh"),
        ("繁體中文的網頁", "zh"),
        ("Read more about our work", "en"),
        ("안녕하세요", "ko"),
    ],
)
def test_short_and_mixed_texts(text: str, language: str) -> None:
    assert identify(text)[0] == language
