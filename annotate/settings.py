"""What annotation looks for: entity labels, relations with their patterns, topics, and a spaCy model per language."""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from catalog.config_file import read_mapping
from catalog.ids import settings_hash
from catalog.settings import Settings

SHIPPED_PATTERNS = (Path(__file__).parent / "patterns.yaml", Path(__file__).parent / "patterns_zh.yaml")

# Labels of spaCy's OntoNotes and WikiNER models → the names that a schema uses; other labels keep their own name.
LABEL_MAP = {
    "PER": "PERSON", "ORG": "ORGANIZATION", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION",
}  # fmt: skip


class Pattern(Settings):
    """One pattern of a relation: spaCy DependencyMatcher `nodes`, or Matcher `tokens` where a model has no parser.

    Two of them are named `head` and `tail`: nodes by RIGHT_ID, tokens by NODE.
    """

    id: str
    relation: str
    confidence: float = Field(ge=0, le=1)
    nodes: tuple[dict[str, Any], ...] = ()
    tokens: tuple[dict[str, Any], ...] = ()
    language: str | None = None  # of the texts that it is for; null: all

    @model_validator(mode="after")
    def _has_both_ends(self) -> Self:
        if bool(self.nodes) == bool(self.tokens):
            raise ValueError(f"pattern '{self.id}' needs either nodes or tokens")
        key, kind = ("RIGHT_ID", "node") if self.nodes else ("NODE", "token")
        names = [node.get(key) for node in self.nodes or self.tokens]
        missing = [end for end in ("head", "tail") if names.count(end) != 1]
        if missing:
            raise ValueError(f"pattern '{self.id}' needs exactly one {kind} with {key}: {missing[0]}")
        if any(not isinstance(node.get("RIGHT_ATTRS", {}), dict) for node in self.nodes):
            raise ValueError(f"pattern '{self.id}': RIGHT_ATTRS must be a mapping, such as {{DEP: prep}}")
        if any("OP" in token for token in self.tokens if token.get("NODE") in ("head", "tail")):
            raise ValueError(f"pattern '{self.id}': head and tail are one token each; leave OP out")
        return self


class AnnotationSchema(Settings):
    """Which entities, relations and topics are emitted; nothing outside these labels ever is."""

    entities: tuple[str, ...] = ("PERSON", "ORGANIZATION", "LOCATION")
    relations: tuple[str, ...] = ("WORKS_FOR", "LOCATED_IN")
    label_map: dict[str, str] = Field(default_factory=dict)  # a model's label → a schema label; wins over LABEL_MAP
    patterns: tuple[Pattern, ...] = ()  # inline, or the path of a YAML file with a `patterns` list
    use_shipped_patterns: bool = True
    # Who finds relations. auto: a learned model those that it knows, patterns the others
    relation_source: Literal["auto", "patterns", "learned", "both"] = "auto"
    models: dict[str, str] = Field(
        default_factory=dict
    )  # language → spaCy model, beside the one that `models.spacy` names
    num_topics: int = Field(default=8, ge=0)

    @field_validator("patterns", mode="before")
    @classmethod
    def _from_file(cls, value: object) -> object:
        return read_patterns(Path(value)) if isinstance(value, str | Path) else value

    @field_validator("models")
    @classmethod
    def _named_by_language(cls, models: dict[str, str]) -> dict[str, str]:
        for language in models:
            if language != (base := base_language(language)):
                raise ValueError(f"models.{language}: texts are told apart by ISO 639 codes alone; write {base}")
        return models

    @model_validator(mode="after")
    def _every_pattern_has_its_relation(self) -> Self:
        for pattern in self.patterns:
            if pattern.relation not in self.relations:
                raise ValueError(f"pattern '{pattern.id}': relation {pattern.relation} is not listed in relations")
        return self

    def all_patterns(self) -> tuple[Pattern, ...]:
        """Return the shipped and the user's patterns of the schema's relations; a user's replaces its namesake."""
        shipped = _shipped_patterns() if self.use_shipped_patterns else ()
        by_id = {pattern.id: pattern for pattern in (*shipped, *self.patterns)}
        return tuple(pattern for pattern in by_id.values() if pattern.relation in self.relations)

    def divide(self, learned: Collection[str]) -> tuple[tuple[str, ...], tuple[Pattern, ...]]:
        """Return the relations that a model which has `learned` some is asked for, and the patterns beside it."""
        own = () if self.relation_source == "patterns" else tuple(name for name in self.relations if name in learned)
        if self.relation_source == "learned":
            return own, ()
        patterns = self.all_patterns()
        if self.relation_source == "auto":
            patterns = tuple(pattern for pattern in patterns if pattern.relation not in own)
        return own, patterns

    def label(self, model_label: str) -> str | None:
        """Return the schema's label for a model's label, or None where the schema has none."""
        name = (LABEL_MAP | self.label_map).get(model_label, model_label)
        return name if name in self.entities else None


class AnnotateSettings(Settings):
    """The top-level keys that annotation owns in the configuration file."""

    annotation_schema: AnnotationSchema = Field(default_factory=AnnotationSchema)


def base_language(language: str | None) -> str:
    """Return a language's ISO 639 code without script and region; nothing for none."""
    return (language or "").replace("_", "-").split("-")[0].lower()


def read_patterns(path: Path) -> tuple[Pattern, ...]:
    """Read a YAML file's `patterns`; raise ConfigError naming the file and the field."""
    file = _PatternFile.parse(read_mapping(path), str(path))
    return tuple(
        pattern if pattern.language else pattern.model_copy(update={"language": file.language})
        for pattern in file.patterns
    )


def result_settings(schema: AnnotationSchema) -> Mapping[str, object]:
    """Return what changes annotation's rows as JSON-able values; the patterns, which are long, as their hash."""
    own = schema.model_dump(mode="json", exclude={"patterns", "use_shipped_patterns", "models"})
    patterns = {pattern.id: pattern.model_dump(mode="json") for pattern in schema.all_patterns()}
    return own | {"patterns": settings_hash(patterns)}


@cache
def _shipped_patterns() -> tuple[Pattern, ...]:
    return tuple(pattern for path in SHIPPED_PATTERNS for pattern in read_patterns(path))


class _PatternFile(Settings):
    vocabulary: dict[str, Any] = Field(default_factory=dict)  # anchors that the patterns share
    language: str | None = None  # of all patterns that name none
    patterns: tuple[Pattern, ...]
