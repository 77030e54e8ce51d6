"""The rules of cleaning as data: each with a name, its languages, what it changes, and golden pairs that prove it."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from catalog.config_file import read_mapping
from catalog.settings import Settings

SHIPPED_RULES = Path(__file__).parent / "rules.yaml"

BlockKind: TypeAlias = Literal["heading", "paragraph", "list_item", "table", "code", "quote", "caption"]
TransformName: TypeAlias = Literal[
    "fix_unicode", "normalize_whitespace", "normalize_code", "strip_tags", "unescape_entities", "narrow_latin",
    "widen_punctuation", "join_spaced_han", "repair_gbk",
]  # fmt: skip
PROSE: tuple[BlockKind, ...] = ("heading", "paragraph", "list_item", "table", "quote", "caption")


def _pairs(value: object) -> object:
    return tuple(value.items()) if isinstance(value, dict) else value


class Rule(Settings):
    """One rule: a pattern with its replacement, a table of words, or a transform that has its name in the code."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    about: str = ""
    languages: tuple[str, ...] = ()  # ISO 639-1, of the document; empty: every language
    blocks: tuple[BlockKind, ...] = PROSE
    pattern: str | None = None  # in the syntax of the package regex
    replacement: str = ""
    words: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_pairs)] = ()  # wrong → right
    transform: TransformName | None = None
    examples: tuple[tuple[str, str], ...] = Field(min_length=1)  # before, after

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        import regex  # not needed to start the command line

        try:
            regex.compile(pattern or "")
        except regex.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if sum(map(bool, (self.pattern, self.words, self.transform))) != 1:
            raise ValueError(f"rule '{self.name}' needs exactly one of pattern, words and transform")
        return self


class RuleFile(Settings):
    """A YAML file of rules."""

    rules: tuple[Rule, ...]


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Read a YAML file's `rules`; raise ConfigError naming the file and the field."""
    return RuleFile.parse(read_mapping(path), str(path)).rules


def expand_files(value: object) -> object:
    """Put the rules of files in the place of their paths, in a path or a list of paths and rules."""
    if isinstance(value, str | Path):
        return read_rules(Path(value))
    if isinstance(value, list | tuple):
        found: list[Any] = []
        for item in value:
            found.extend(read_rules(Path(item)) if isinstance(item, str | Path) else [item])
        return found
    return value


@cache
def shipped_rules() -> tuple[Rule, ...]:
    """Return the rules that come with headrace."""
    return read_rules(SHIPPED_RULES)
