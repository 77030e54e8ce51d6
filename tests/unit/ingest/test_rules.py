"""Rules: every golden pair holds, switches and names turn rules off, own ones join them, and bad ones are refused."""

import json
import sys
from pathlib import Path

import pytest

from catalog import cli
from catalog.errors import ConfigError
from ingest.clean import clean_block
from ingest.compiled import broken_examples
from ingest.rules import Rule, shipped_rules
from ingest.settings import CleaningRules, IngestSettings

OWN = {"name": "house", "pattern": r"\bcolor\b", "replacement": "colour", "examples": [["a color", "a colour"]]}


@pytest.mark.parametrize("rule", shipped_rules(), ids=lambda rule: rule.name)
def test_golden_pairs(rule: Rule) -> None:
    assert broken_examples(rule) == []
    assert any(before != after for before, after in rule.examples)
    assert rule.about


def test_names_are_unique() -> None:
    names = [rule.name for rule in shipped_rules()]
    assert len(set(names)) == len(names)


def test_rules_of_a_language_leave_others_alone() -> None:
    german = "Um, wie spät ist es, um, acht?"
    assert clean_block(german, "paragraph", CleaningRules(), "de")[0] == german
    assert clean_block("沙发！！", "paragraph", CleaningRules(), "en")[0] == "沙发！！"
    assert clean_block("沙发！！", "paragraph", CleaningRules(), "zh")[0] == ""


def test_code_is_left_as_it_is() -> None:
    code = 'if (a,b):\n    print("嗯，那个，！！！！！！ um, soooooo")  # ======== ＡＢＣ &nbsp; <br style="x"/>'
    assert clean_block(code, "code", CleaningRules(), "zh") == (code, {})


@pytest.mark.parametrize(
    ("switch", "before", "after"),
    [
        ("remove_html", "AT&amp;T", "AT&T"),
        ("normalize_whitespace", "a  b", "a b"),
        ("fix_unicode", "sÃ³lo", "sólo"),
    ],
)
def test_a_switch_wins_whether_shipped_rules_are_used_or_not(switch: str, before: str, after: str) -> None:
    for shipped in (True, False):
        on = CleaningRules(use_shipped_rules=shipped)
        assert clean_block(before, "paragraph", on)[0] == after
        assert clean_block(before, "paragraph", on.model_copy(update={switch: False}))[0] == before


def test_a_rule_is_turned_off_by_name_or_all_together() -> None:
    text = "soooooo good!!!!!!"
    assert clean_block(text, "paragraph", CleaningRules())[0] == "sooo good!!!"
    assert clean_block(text, "paragraph", CleaningRules(disable=("elongation",)))[0] == "soooooo good!!!"
    assert clean_block(text, "paragraph", CleaningRules(use_shipped_rules=False))[0] == text


def test_own_rules_run_inline_and_from_files_and_replace_namesakes(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "rules:\n"
        "  - {name: elongation, words: {soooooo: so}, examples: [[soooooo, so]]}\n"
        "  - {name: shout, languages: [en], blocks: [heading], pattern: '!', examples: [['Hi!', Hi]]}\n"
    )
    given = {"cleaning_rules": {"rules": [str(file), OWN]}}
    rules = IngestSettings.parse(given, "f.yaml").cleaning_rules
    text, hits = clean_block("soooooo much color!", "heading", rules, "en")
    assert (text, hits) == ("so much colour", {"elongation": 1, "shout": 1, "house": 1})
    assert clean_block("color!", "paragraph", rules, "en")[0] == "colour!"


def test_what_a_rule_does_is_part_of_the_recipe() -> None:
    def recipe(**rules: object) -> dict[str, object]:
        return IngestSettings.parse({"cleaning_rules": rules}, "f.yaml").cleaning_rules.result_settings()

    assert recipe() == recipe()
    assert recipe() != recipe(disable=["elongation"])
    assert recipe(rules=[OWN]) != recipe(rules=[OWN | {"replacement": "hue", "examples": [["color", "hue"]]}])
    assert recipe(use_shipped_rules=False) != recipe()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"disable": ["zh_filers"]}, "there is no rule 'zh_filers'"),
        ({"rules": ["nowhere.yaml"]}, "nowhere.yaml: no such file"),
        ({"rules": [OWN | {"examples": []}]}, "rules.0.examples"),
        ({"rules": [OWN | {"examples": [["color", "hue"]]}]}, "rule 'house': 'color' becomes 'colour', not 'hue'"),
        ({"rules": [OWN | {"pattern": "c(", "examples": [["c(", ""]]}]}, "not a regular expression"),
        ({"rules": [OWN | {"pattern": None}]}, "exactly one of pattern, words and transform"),
        ({"rules": [{"name": "grow", "pattern": "a", "replacement": "aa", "examples": [["a", "aa"]]}]}, "…, not 'aa'"),
        ({"rules": [OWN | {"blocks": ["footnote"]}]}, "rules.0.blocks.0"),
    ],
)
def test_a_bad_rule_is_refused_with_its_name(rules: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        IngestSettings.parse({"cleaning_rules": rules}, "f.yaml")
    assert message in str(error.value)


def test_the_guide_lists_every_rule(repo: Path) -> None:
    guide = (repo / "docs" / "cleaning.md").read_text(encoding="utf-8")
    listed = [line for line in guide.splitlines() if line.startswith("| `")]
    assert listed == [
        f"| `{rule.name}` | {', '.join(rule.languages) or 'all'} | {rule.about} |" for rule in shipped_rules()
    ]


def test_the_command_lists_rules_in_order_and_what_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"cleaning_rules: {{disable: [zh_typos], remove_html: false, rules: [{json.dumps(OWN)}]}}")
    monkeypatch.setattr(sys, "argv", ["headrace", "rules", "--config", str(config), "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    rows = json.loads(capfd.readouterr().out)["rules"]
    assert [row["name"] for row in rows if not row["on"]] == ["html_comments", "html_tags", "html_entities", "zh_typos"]
    on = [row["name"] for row in rows if row["on"]]
    assert on[0] == "fix_unicode"
    assert on[-3:] == ["house", "normalize_whitespace", "normalize_code"]
