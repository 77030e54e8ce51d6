"""Settings of quality: the range in which each signal must lie, by hand or as published."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator

from catalog.settings import Settings

Signal: TypeAlias = Literal[
    "num_words", "mean_word_length", "symbol_to_word_ratio", "alpha_word_fraction", "num_stop_words",
    "bullet_line_fraction", "ellipsis_line_fraction", "terminal_line_fraction", "short_line_fraction",
    "num_javascript_lines", "num_policy_lines", "duplicate_line_fraction", "duplicate_line_char_fraction",
    "duplicate_paragraph_fraction", "duplicate_paragraph_char_fraction", "top_2_gram_char_fraction",
    "top_3_gram_char_fraction", "top_4_gram_char_fraction", "duplicate_5_gram_char_fraction",
    "duplicate_6_gram_char_fraction", "duplicate_7_gram_char_fraction", "duplicate_8_gram_char_fraction",
    "duplicate_9_gram_char_fraction", "duplicate_10_gram_char_fraction", "num_sentences", "num_curly_braces",
    "num_lorem_ipsum", "compression_ratio",
]  # fmt: skip


class Bounds(Settings):
    """The closed range in which a signal must lie."""

    min: float | None = None
    max: float | None = None


# Gopher: appendix A.1 and table A1 of arXiv 2112.11446. C4: section 2.2 of arXiv 1910.10683, as far as it drops pages.
PRESETS: dict[str, dict[Signal, Bounds]] = {
    "gopher": {
        "num_words": Bounds(min=50, max=100_000),
        "mean_word_length": Bounds(min=3, max=10),
        "symbol_to_word_ratio": Bounds(max=0.1),
        "bullet_line_fraction": Bounds(max=0.9),
        "ellipsis_line_fraction": Bounds(max=0.3),
        "alpha_word_fraction": Bounds(min=0.8),
        "num_stop_words": Bounds(min=2),
        "duplicate_line_fraction": Bounds(max=0.3),
        "duplicate_paragraph_fraction": Bounds(max=0.3),
        "duplicate_line_char_fraction": Bounds(max=0.2),
        "duplicate_paragraph_char_fraction": Bounds(max=0.2),
        "top_2_gram_char_fraction": Bounds(max=0.2),
        "top_3_gram_char_fraction": Bounds(max=0.18),
        "top_4_gram_char_fraction": Bounds(max=0.16),
        "duplicate_5_gram_char_fraction": Bounds(max=0.15),
        "duplicate_6_gram_char_fraction": Bounds(max=0.14),
        "duplicate_7_gram_char_fraction": Bounds(max=0.13),
        "duplicate_8_gram_char_fraction": Bounds(max=0.12),
        "duplicate_9_gram_char_fraction": Bounds(max=0.11),
        "duplicate_10_gram_char_fraction": Bounds(max=0.10),
    },
    "c4": {
        "num_sentences": Bounds(min=3),
        "num_curly_braces": Bounds(max=0),
        "num_lorem_ipsum": Bounds(max=0),
    },
}


def _expand(value: object) -> object:
    """Turn a preset's name, or a mapping with a `preset`, into bounds by signal; what is given by hand wins."""
    if isinstance(value, str):
        value = {"preset": value}
    if not isinstance(value, dict) or "preset" not in value:
        return value
    preset = value["preset"]
    if preset not in PRESETS:
        raise ValueError(f"'{preset}' is no preset; write {' or '.join(PRESETS)}, or bounds by signal")
    return PRESETS[preset] | {name: bounds for name, bounds in value.items() if name != "preset"}


Quality: TypeAlias = Annotated[dict[Signal, Bounds], BeforeValidator(_expand)]
