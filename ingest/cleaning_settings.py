"""Settings of cleaning: which rules run, and which personal data is masked."""

from importlib.util import find_spec
from typing import Literal, TypeAlias

from pydantic import field_validator, model_validator

from catalog.ids import settings_hash
from catalog.settings import MaskSettings
from ingest.rules import Rule, expand_files, shipped_rules

# What Presidio's patterns know and catalog/pii.py does not; names of people would take a model, at a hundredth of the
# speed.
PresidioEntity: TypeAlias = Literal[
    "CRYPTO", "IBAN_CODE", "MAC_ADDRESS", "MEDICAL_LICENSE", "UK_NHS", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN",
    "US_PASSPORT", "US_SSN",
]  # fmt: skip

# The switches that turn shipped rules off; every other shipped rule is turned off by its name in `disable`.
SWITCHES = {
    "remove_html": ("html_comments", "html_tags", "html_entities"),
    "normalize_whitespace": ("normalize_whitespace", "normalize_code"),
    "fix_unicode": ("fix_unicode",),
}


class CleaningRules(MaskSettings):
    """What is done to every block of text; each rule can be turned off by itself."""

    remove_html: bool = True  # off: blocks keep their inline tags
    normalize_whitespace: bool = True
    filter_stopwords: bool = True  # fills analysis_text; the training text never loses a word
    fix_unicode: bool = True
    presidio_entities: tuple[PresidioEntity, ...] = ()  # more kinds: IBAN_CODE, US_SSN …, by Presidio (the extra `pii`)
    use_shipped_rules: bool = True  # those of rules.yaml that have no switch above
    disable: tuple[str, ...] = ()  # names of rules that shall not run
    rules: tuple[Rule, ...] = ()  # more: inline, or paths of YAML files with a `rules` list

    @field_validator("presidio_entities")
    @classmethod
    def _can_be_masked(cls, entities: tuple[PresidioEntity, ...]) -> tuple[PresidioEntity, ...]:
        if entities and find_spec("presidio_analyzer") is None:
            raise ValueError("Presidio is not installed; pip install 'headrace[pii]', or leave presidio_entities empty")
        return entities

    @field_validator("rules", mode="before")
    @classmethod
    def _from_files(cls, value: object) -> object:
        return expand_files(value)

    @field_validator("rules")
    @classmethod
    def _do_what_their_examples_say(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        from ingest.compiled import broken_examples  # the libraries behind the rules are no load for --help

        problems = [problem for rule in rules for problem in broken_examples(rule)]
        if problems:
            raise ValueError("; ".join(problems))
        return rules

    @model_validator(mode="after")
    def _disables_what_there_is(self) -> "CleaningRules":
        known = {rule.name for rule in (*(shipped_rules() if self.disable else ()), *self.rules)}
        for name in self.disable:
            if name not in known:
                raise ValueError(f"disable: there is no rule '{name}'; the rules are {', '.join(sorted(known))}")
        return self

    def all_rules(self) -> tuple[Rule, ...]:
        """Return the rules that are on, in order; a user's rule takes the place of its shipped namesake."""
        switched = {name: getattr(self, switch) for switch, names in SWITCHES.items() for name in names}
        own = {rule.name: rule for rule in self.rules}
        on = [own.pop(rule.name, rule) for rule in shipped_rules() if switched.get(rule.name, self.use_shipped_rules)]
        end = next((at for at, rule in enumerate(on) if rule.name in SWITCHES["normalize_whitespace"]), len(on))
        return tuple(rule for rule in (*on[:end], *own.values(), *on[end:]) if rule.name not in self.disable)

    def result_settings(self) -> dict[str, object]:
        """Return what changes documents as JSON-able values; the rules, which are long, as their hash."""
        own = self.model_dump(mode="json", exclude={"rules", "use_shipped_rules", "disable"})
        return own | {"rules": settings_hash({"rules": [rule.model_dump(mode="json") for rule in self.all_rules()]})}
