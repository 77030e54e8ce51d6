"""Signals: values counted by hand, in both languages, and bounds that name what they refuse."""

import pytest

from catalog.errors import ConfigError
from catalog.schema import SIGNALS
from ingest.analysis import words
from ingest.quality_settings import PRESETS, Bounds
from ingest.settings import IngestSettings
from ingest.signals import measure_signals, out_of_bounds

PROSE = "The river rises in the hills, and it flows to the sea that we have with us. " * 4
LINES = "• one two\n• three four...\nfive six seven eight nine.\n{ javascript: # }"


def measured(text: str, language: str = "en") -> dict[str, float | int | None]:
    return dict(measure_signals(text, words(text), language))


def test_the_columns_are_the_settings_names() -> None:
    names = [field.name for field in SIGNALS]
    assert list(measured(PROSE)) == names
    given = {"extract": {"quality": {name: {"min": 0} for name in names}}}
    assert set(IngestSettings.parse(given, "f.yaml").extract.quality) == set(names)
    assert set(PRESETS["gopher"]) | set(PRESETS["c4"]) <= set(names)


def test_lines_and_characters_are_counted() -> None:
    found = measured(LINES)
    assert found["num_words"] == 10
    assert found["mean_word_length"] == 4.6
    assert found["bullet_line_fraction"] == 0.5
    assert found["ellipsis_line_fraction"] == 0.25
    assert found["terminal_line_fraction"] == 0.5
    assert found["short_line_fraction"] == 0.75
    assert (found["num_curly_braces"], found["num_javascript_lines"], found["symbol_to_word_ratio"]) == (2, 1, 0.1)
    assert measured("Lorem ipsum dolor.\n\nOur privacy policy.")["num_lorem_ipsum"] == 1
    assert measured("Lorem ipsum dolor.\n\nOur privacy policy.")["num_policy_lines"] == 1
    assert measured("a1 22 b 333")["alpha_word_fraction"] == 0.5


def test_repeats_are_shares_of_what_repeats() -> None:
    found = measured("ab cd ef.\n\nab cd ef.\n\nxyz zyx wvu.")
    assert found["duplicate_paragraph_fraction"] == found["duplicate_line_fraction"] == 0.3333
    assert found["duplicate_paragraph_char_fraction"] == round(9 / 30, 4)
    assert found["top_2_gram_char_fraction"] == round(8 / 21, 4)  # ab cd, twice
    assert found["top_3_gram_char_fraction"] == round(12 / 21, 4)
    assert found["top_4_gram_char_fraction"] == 0.0
    five = measured("a b c d e x a b c d e f")
    assert five["duplicate_5_gram_char_fraction"] == round(5 / 12, 4)
    assert five["duplicate_6_gram_char_fraction"] == 0.0


def test_overlapping_repeats_count_each_character_once() -> None:
    assert measured("x " * 10)["duplicate_5_gram_char_fraction"] == 0.9
    assert measured("x " * 10)["duplicate_10_gram_char_fraction"] == 0.0


def test_chinese_is_segmented_and_has_no_word_length() -> None:
    found = measured("这条河发源于山区，流经三个城镇，最后注入大海。沿岸的人们以捕鱼为生。", "zh")
    assert 14 <= found["num_words"] <= 24  # words, not characters
    assert found["mean_word_length"] is None
    assert (found["num_sentences"], found["terminal_line_fraction"]) == (2, 1.0)
    assert found["num_stop_words"] >= 2
    assert measured("什么……怎么……", "zh")["symbol_to_word_ratio"] == 1.0
    assert measured("顶顶顶" * 60, "zh")["compression_ratio"] < 0.1


def test_no_text_has_signals_too() -> None:
    assert {value for value in measured("").values() if value} == set()


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (PROSE, "top_3_gram_char_fraction 0.2281, more than extract.quality's 0.18"),
        ("too few words", "num_words 3, less than extract.quality's 50"),
        (" ".join(f"{number}" for number in range(100, 160)), "alpha_word_fraction 0, less"),
    ],
)
def test_gopher_refuses_by_name_value_and_bound(text: str, broken: str) -> None:
    found = out_of_bounds(measured(text), PRESETS["gopher"])
    assert found is not None
    assert broken in found


def test_bounds_are_closed_and_null_passes() -> None:
    signals = {"num_words": 50, "mean_word_length": None}
    assert out_of_bounds(signals, {"num_words": Bounds(min=50, max=50), "mean_word_length": Bounds(min=3)}) is None
    assert out_of_bounds(signals, {"num_words": Bounds(max=49)}) == "num_words 50, more than extract.quality's 49"


def test_a_preset_can_be_changed_in_one_place() -> None:
    given = {"extract": {"quality": {"preset": "gopher", "num_words": {"min": 5}}}}
    quality = IngestSettings.parse(given, "f.yaml").extract.quality
    assert quality["num_words"] == Bounds(min=5)
    assert quality["num_stop_words"] == Bounds(min=2)


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        ("gofer", "'gofer' is no preset; write gopher or c4"),
        ({"num_word": {"min": 1}}, "extract.quality.num_word"),
        ({"num_words": {"least": 1}}, "extract.quality.num_words.least"),
    ],
)
def test_nonsense_is_refused(quality: object, message: str) -> None:
    with pytest.raises(ConfigError, match=r"f\.yaml: ") as error:
        IngestSettings.parse({"extract": {"quality": quality}}, "f.yaml")
    assert message in str(error.value)
