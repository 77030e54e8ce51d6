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
