"""Settings: typed, frozen, unknown keys refused; every message names the file and the field."""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from catalog.config_file import read_mapping
from catalog.errors import ConfigError

SettingsT = TypeVar("SettingsT", bound="Settings")
LAST_CONFIG = "config.json"  # below the root: what the run before was given, for commands that take no configuration


class Settings(BaseModel):
    """Immutable settings; an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, given: Mapping[str, Any], where: str) -> Self:
        """Validate `given`; raise ConfigError naming `where` and each wrong field."""
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise ConfigError(f"{where}: {'; '.join(_problem(cls, item) for item in error.errors())}") from error


class Resources(Settings):
    """What one stage may use; stated here, never probed inside a stage."""

    workers: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0)
    stall_seconds: float = Field(default=900.0, gt=0)

    @field_validator("gpus")
    @classmethod
    def _divisible(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("above 1 it must be a whole number, since only one GPU can be shared")
        return value


class Models(Settings):
    """Which model each task uses: a local path, the name of a packaged model, or a hub name."""

    clip: str = "ViT-B-32/laion2b_s34b_b79k"
    whisper: str = "base"
    text: str = "all-MiniLM-L6-v2"
    spacy: str = "en_core_web_sm"
    lm: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    captioner: str | None = None  # an image-to-text model of transformers; null: pictures get no caption


OFFLINE_MODELS = Models(
    clip="tiny_clip",
    whisper="tiny.en",
    text="all-MiniLM-L6-v2",
    spacy="en_core_web_sm",
    lm="HuggingFaceTB/SmolLM2-135M-Instruct",
)


class DedupSettings(Settings):
    """Which records stand for others; equal texts and older versions of a URL always give way.

    What lies between a `…_propose` and its `…_threshold` is shown to a steward, and stays unless one agrees.
    """

    minhash: bool = True
    threshold: float = Field(default=0.5, gt=0, le=1)
    num_bands: int = Field(default=32, ge=1, le=256)
    rows_per_band: int = Field(default=4, ge=1, le=16)
    shingle_words: int = Field(default=3, ge=1, le=16)
    shingle_chars: int = Field(default=3, ge=1, le=16)
    keep_lookalikes: bool = True
    languages: tuple[str, ...] = ()
    semantic: bool = True
    semantic_threshold: float = Field(default=0.95, gt=0, le=1)
    semantic_propose: float = Field(default=0.9, gt=0, le=1)
    images: bool = True
    phash_distance: int = Field(default=6, ge=0, le=32)
    image_verify: float = Field(default=0.75, gt=0, le=1)
    image_threshold: float = Field(default=0.98, gt=0, le=1)
    image_correlation: float = Field(default=0.85, gt=0, le=1)
    image_propose: float = Field(default=0.97, gt=0, le=1)
    image_turned: float = Field(default=0.9, gt=0, le=1)
    audio: bool = True
    audio_threshold: float = Field(default=0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high in (
            ("semantic_propose", "semantic_threshold"),
            ("image_propose", "image_threshold"),
            ("image_verify", "image_propose"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}; write them in this order, or the same twice")
        return self


PiiKind = Literal["email", "phone", "cn_id", "card", "passport", "ip"]


class MaskSettings(Settings):
    """Which personal data no stage writes down; part of `cleaning_rules`."""

    mask_pii: bool = True
    pii_kinds: tuple[PiiKind, ...] = (
        "email",
        "phone",
        "cn_id",
        "card",
        "passport",
    )  # ip is for who wants it: manuals are full of them

    @property
    def masked_kinds(self) -> tuple[PiiKind, ...]:
        """The kinds that are masked: none where masking is off."""
        return self.pii_kinds if self.mask_pii else ()


StageName = Literal["crawl", "extract", "embed", "transcribe", "annotate", "dedup", "fuse", "train"]


class VectorSettings(Settings):
    """How vector indexes are kept."""

    flat_max: int = Field(
        default=300_000, ge=1
    )  # vectors a segment holds as they are; above, float16 in inverted lists
    recall: float = Field(default=0.99, gt=0, le=1)  # recall@10 on a sample that decides how many lists a search reads


class MaintenanceSettings(Settings):
    """What `headrace maintain` merges, and how long it leaves alone what nobody needs any more."""

    grace_hours: float = Field(default=24.0, ge=0)  # files younger than this are never removed
    retention_hours: float = Field(default=72.0, ge=0)  # merged files and old table versions stay this long for readers
    file_mb: float = Field(default=64.0, gt=0)  # small files are merged to about this size
    min_files: int = Field(default=16, ge=2)  # a table with fewer small files is left as it is


class ReviewSettings(Settings):
    """What a human review must show before a release (an export)."""

    min_pass: float = Field(default=0.0, ge=0, le=1)  # the lower bound of the share that passes; 0: no review is asked
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    min_coverage: float = Field(
        default=0.5, ge=0, le=1
    )  # share of the current documents that the sample was drawn from


class CatalogSettings(Settings):
    """Where headrace lives and what runs it."""

    root: Path = Path(".headrace")
    warehouse: str | None = None
    catalog: dict[str, str] = {}
    engine: Literal["auto", "local", "ray"] = "auto"
    ray_address: str | None = None
    models: Models = Models()
    stages: tuple[StageName, ...] = ("crawl", "extract", "embed", "transcribe", "annotate", "dedup", "fuse", "train")
    resources: dict[StageName, Resources] = {}
    vectors: VectorSettings = VectorSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    dedup: DedupSettings = DedupSettings()
    review: ReviewSettings = ReviewSettings()

    @field_validator("models", mode="before")
    @classmethod
    def _named_set(cls, value: object) -> object:
        if value == "offline":
            return OFFLINE_MODELS
        if isinstance(value, str):
            raise ValueError(
                f"'{value}' is not a set of models; write offline, or a mapping of clip, whisper, text, spacy, lm"
            )
        return value


class Config:
    """One configuration file, split into the sections that each package owns."""

    def __init__(self, given: Mapping[str, Any], where: str = "configuration") -> None:
        self.where = where
        self.recipes: dict[str, str] = {}  # memo of catalog.pipeline.recipe, which may have to ask for model weights
        self.given = _expand(dict(given), where)
        self._sections = {model: _parse_owned(model, self.given, where) for model in section_models()}

    @classmethod
    def load(cls, path: Path, **overrides: object) -> "Config":
        """Read a YAML or JSON file; overrides that are not None win over it."""
        given = _expand(read_mapping(path), str(path))
        merged = given | {key: value for key, value in overrides.items() if value is not None}
        return cls(merged, where=str(path))

    def section(self, model: type[SettingsT]) -> SettingsT:
        """Return the validated settings of one package."""
        section = self._sections[model]
        assert isinstance(section, model)
        return section

    @property
    def catalog(self) -> CatalogSettings:
        """The hub's own settings."""
        return self.section(CatalogSettings)

    @property
    def masking(self) -> MaskSettings:
        """What `cleaning_rules` says of personal data, for stages of other packages than its owner's."""
        rules = self.given.get("cleaning_rules") or {}
        return MaskSettings.parse(
            {name: rules[name] for name in MaskSettings.model_fields if name in rules}, self.where
        )

    def resources(self, stage: StageName, default: Resources) -> Resources:
        """What `stage` may use: the configured resources, else its default."""
        return self.catalog.resources.get(stage, default)


@cache
def section_models() -> tuple[type[Settings], ...]:
    """Return the settings classes of the hub and of every installed package that registers one."""
    found = (point.load() for point in sorted(entry_points(group="headrace.settings"), key=lambda point: point.name))
    return (CatalogSettings, *found)


def _owners() -> dict[str, type[Settings]]:
    return {key: model for model in section_models() for key in model.model_fields}


def _expand(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Refuse unknown keys; wrap a file whose keys all belong to one section as that section."""
    owners = _owners()
    unknown = [key for key in given if key not in owners]
    if not unknown:
        return given
    sections = {name: field for name, field in _section_fields().items() if given.keys() <= field}
    if len(sections) == 1:
        return {next(iter(sections)): given}
    key = unknown[0]
    below = [f"{name}.{key}" for name, fields in _section_fields().items() if key in fields]
    if below:
        raise ConfigError(f"{where}: unknown setting '{key}'; write it as {' or '.join(below)}")
    names = [*owners, *(name for fields in _section_fields().values() for name in fields)]
    raise ConfigError(f"{where}: unknown setting '{key}'{_hint(key, names, owners, 'known keys')}")


def _hint(key: str, names: Iterable[str], known: Iterable[str], what: str) -> str:
    close = difflib.get_close_matches(key, sorted(set(names)), 1)
    return f"; did you mean '{close[0]}'?" if close else f"; {what}: {', '.join(sorted(known))}"


def _section_fields() -> dict[str, set[str]]:
    """Return, for each top-level key whose value is itself a Settings class, the keys that it accepts."""
    fields: dict[str, set[str]] = {}
    for model in section_models():
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, Settings):
                fields[name] = _accepted(kind)
    return fields


def _accepted(model: type[Settings]) -> set[str]:
    """Return the keys that a model accepts: its fields' aliases, and names where there is no alias."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        aliases = getattr(field.validation_alias, "choices", [field.validation_alias])  # AliasChoices or one
        given = {alias for alias in aliases if isinstance(alias, str)}
        both = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
        keys |= given | ({name} if both or not given else set())
    return keys


def _parse_owned(model: type[Settings], given: Mapping[str, Any], where: str) -> Settings:
    return model.parse({key: value for key, value in given.items() if key in model.model_fields}, where)


def _problem(model: type[Settings], item: Any) -> str:
    models = _models_at(model, item["loc"][:-1])
    tags = {kind.__name__ for kind in models}  # pydantic names the tried member of a union in the path
    field = ".".join(str(part) for part in item["loc"] if part not in tags)
    if item["type"] == "extra_forbidden":
        known = set().union(*(_accepted(kind) for kind in models))
        return f"unknown setting '{field}'" + _hint(str(item["loc"][-1]), known, known, "known")
    return f"{field}: {item['msg'].removeprefix('Value error, ')} (given: {item['input']!r})"


def _models_at(model: type[Settings], path: tuple[Any, ...]) -> list[type[Settings]]:
    """Return the settings classes that may stand at a path of field names, list positions, keys and union tags."""
    found = [model]
    for part in path:
        fields = [kind.model_fields[part] for kind in found if part in kind.model_fields]
        tagged = [kind for kind in found if kind.__name__ == part]
        found = [kind for field in fields for kind in _models_in(field.annotation)] if fields else tagged or found
    return found


def _models_in(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _models_in(argument)]
