"""Cleaning rules: golden pairs; each rule can be seen to work, and only where it is on."""

import pytest

from ingest.clean import clean_block, rule_hits
from ingest.settings import CleaningRules
from ingest.transforms import fix_unicode, normalize_code, normalize_whitespace

OFF = CleaningRules(
    remove_html=False,
    normalize_whitespace=False,
    filter_stopwords=False,
    fix_unicode=False,
    mask_pii=False,
    use_shipped_rules=False,
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("sÃ³lo", "sólo"),
        ("â€œquotedâ€\x9d", "“quoted”"),
        ("cafe\u0301", "café"),
        ("ﬁne", "fine"),
        ("a\x00b\x1b[31mc", "abc"),
        ("中文，全角！字母ｓ。", "中文，全角！字母ｓ。"),  # full-width punctuation is right in Chinese
        ("“curly” ‘quotes’", "“curly” ‘quotes’"),
        ("if (a &lt; b)", "if (a &lt; b)"),  # code about HTML
        ("plain ASCII", "plain ASCII"),
    ],
)
def test_fix_unicode(before: str, after: str) -> None:
    assert fix_unicode(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  a \t b  ", "a b"),
        ("a\u00a0b\u3000c", "a b c"),
        ("line one  \r\n\r\n\r\n  line two", "line one\nline two"),
        ("", ""),
    ],
)
def test_normalize_whitespace(before: str, after: str) -> None:
    assert normalize_whitespace(before) == after


def test_code_keeps_its_indentation() -> None:
    assert normalize_code("\n  if a:  \n\n      b()\t\n\n") == "  if a:\n\n      b()"


def test_every_rule_counts_its_changes() -> None:
    text, hits = clean_block("sÃ³lo   me@example.org", "paragraph", CleaningRules())
    assert text == "sólo [EMAIL]"
    assert rule_hits(hits) == [
        {"rule": "fix_unicode", "hits": 1},
        {"rule": "normalize_whitespace", "hits": 1},
        {"rule": "pii_email", "hits": 1},
    ]


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        ("fix_unicode", "sÃ³lo  me@example.org", "sólo  me@example.org"),
        ("normalize_whitespace", "sÃ³lo  me@example.org", "sÃ³lo me@example.org"),
        ("mask_pii", "sÃ³lo  me@example.org", "sÃ³lo  [EMAIL]"),
    ],
)
def test_every_toggle_is_observable_by_itself(rule: str, before: str, after: str) -> None:
    assert clean_block(before, "paragraph", OFF)[0] == before
    assert clean_block(before, "paragraph", OFF.model_copy(update={rule: True}))[0] == after
