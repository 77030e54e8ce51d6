"""Settings: every wrong file gets one line that names the file, the field and what to write instead."""

from pathlib import Path

import pytest
from pydantic import Field

from catalog import settings
from catalog.config_file import read_mapping
from catalog.errors import ConfigError
from catalog.settings import OFFLINE_MODELS, CatalogSettings, Config, Resources, Settings


class Rates(Settings):
    """A nested section with an alias, as a package declares it."""

    learning_rate: float = 1e-5
    max_length: int = Field(512, alias="max_seq_length")
    steps: int = 3


class Masking(Settings):
    """Another nested section, which shares a key with the first."""

    learning_rate: float = 3e-5
    mask_probability: float = 0.15


class Site(Settings):
    """One item of a list."""

    url: str
    depth: int = 1


class Spoke(Settings):
    """The settings that a package registers: its fields are top-level keys."""

    training: Rates = Rates()
    masking: Masking = Masking()
    sources: tuple[str | Site, ...] = ()
    extra: Rates | None = None


@pytest.fixture(autouse=True)
def _one_spoke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "section_models", lambda: (CatalogSettings, Spoke))


def written(folder: Path, text: str, name: str = "c.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.load(path, **overrides)
    text = str(caught.value)
    assert text.startswith(f"{path}: "), "the message must begin with the file"
    assert "\n" not in text, "the message must be one line"
    return text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("engin: local", ["unknown setting 'engin'", "did you mean 'engine'?"]),
        ("zzz: 1", ["unknown setting 'zzz'", "known keys: ", "engine", "training"]),
        ("models: {clp: x}", ["unknown setting 'models.clp'", "did you mean 'clip'?"]),
        ("training: {learning_rat: 1}", ["'training.learning_rat'", "did you mean 'learning_rate'?"]),
        ("training: {max_seq_lenth: 1}", ["'training.max_seq_lenth'", "did you mean 'max_seq_length'?"]),
        ("extra: {stepz: 1}", ["'extra.stepz'", "did you mean 'steps'?"]),
        ("resources: {embed: {gpu: 1}}", ["'resources.embed.gpu'", "did you mean 'gpus'?"]),
        ("resources: {embed: {zzz: 1}}", ["'resources.embed.zzz'", "known: cpus, gpus"]),
        ("resources: {embedd: {}}", ["resources.embedd", "'embed'"]),
        ("sources: [{url: u, deph: 2}]", ["sources.0", "deph", "did you mean 'depth'?"]),
        ("stages: [crawl, extrct]", ["stages.1", "'extract'", "given: 'extrct'"]),
        ("engine: spark", ["engine: ", "'auto', 'local' or 'ray'", "given: 'spark'"]),
        ("resources: {embed: {workers: 0}}", ["resources.embed.workers: ", "greater than or equal to 1"]),
        ("resources: {embed: {workers: many}}", ["resources.embed.workers: ", "given: 'many'"]),
        ("models: ofline", ["models: 'ofline' is not a set of models", "write offline"]),
        ("models: [clip]", ["models: ", "given: ['clip']"]),
        ("learning_rate: 1\nzzz: 2", ["unknown setting 'learning_rate'", "training.learning_rate"]),
        ("learning_rate: 1", ["unknown setting 'learning_rate'", "training.learning_rate", "masking.learning_rate"]),
        ("- a\n- b", ["expected a mapping", "found list"]),
        ("just text", ["expected a mapping", "found str"]),
        ("engine: local\nroot: [", ["line 2", "not YAML"]),
        ("engine: local\n\troot: x", ["line 2", "not YAML"]),
        ("engine: local\nengine: ray", ["line 2", "'engine'", "twice"]),
        ("training: {steps: 1, steps: 2}", ["line 1", "'steps'", "twice"]),
        ("? [a, b]\n: 1", ["not YAML", "line 1"]),
        ("a: !!python/object/apply:os.system [ls]", ["line 1", "not YAML"]),
        ("engine: 2026-13-45", ["engine"]),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, parts: list[str]) -> None:
    said = message(written(tmp_path, text))
    for part in parts:
        assert part in said


def test_several_wrong_fields_are_all_named(tmp_path: Path) -> None:
    said = message(written(tmp_path, "engine: spark\nstages: [x]"))
    assert "engine: " in said
    assert "stages.0: " in said


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    assert "no such file; write one" in message(tmp_path / "none.yaml")


def test_a_folder_or_bytes_in_place_of_a_file_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in message(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00bad")
    assert "cannot be read" in message(tmp_path / "b.yaml")
    assert "not YAML" in message(written(tmp_path, "a: \x01", "control.yaml"))


def test_json_is_read_and_its_errors_name_the_line(tmp_path: Path) -> None:
    config = Config.load(written(tmp_path, '{"engine": "ray", "training": {"learning_rate": 5e-5}}', "c.json"))
    assert config.catalog.engine == "ray"
    assert config.section(Spoke).training.learning_rate == 5e-5
    assert "line 2: not JSON" in message(written(tmp_path, '{"engine": "ray",\n}', "d.json"))
    assert "'engine'" in message(written(tmp_path, '{"engine": "ray", "engine": "local"}', "e.json"))


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    config = Config.load(written(tmp_path, "# nothing yet\n"))
    assert config.catalog == CatalogSettings()


def test_numeric_strings_become_numbers(tmp_path: Path) -> None:
    text = "training: {learning_rate: 5e-5, steps: '7'}\nresources: {embed: {workers: '2', gpus: '0.5'}}"
    config = Config.load(written(tmp_path, text))
    assert config.section(Spoke).training.learning_rate == 5e-5
    assert config.section(Spoke).training.steps == 7
    assert config.resources("embed", Resources()) == Resources(workers=2, gpus=0.5)
    assert config.resources("fuse", Resources(cpus=3)) == Resources(cpus=3)


def test_a_file_whose_keys_all_belong_to_one_section_is_that_section(tmp_path: Path) -> None:
    config = Config.load(written(tmp_path, "mask_probability: 0.2\nlearning_rate: 1e-3"))
    assert config.section(Spoke).masking == Masking(learning_rate=1e-3, mask_probability=0.2)
    assert Config.load(written(tmp_path, "max_seq_length: 9")).section(Spoke).training.max_length == 9


def test_a_whole_file_section_takes_overrides_too(tmp_path: Path) -> None:
    config = Config.load(written(tmp_path, "steps: 9"), root=tmp_path / "elsewhere", engine=None)
    assert config.section(Spoke).training.steps == 9
    assert config.catalog.root == tmp_path / "elsewhere"


def test_overrides_win_unless_none_and_zero_is_a_value(tmp_path: Path) -> None:
    path = written(tmp_path, "engine: ray\nmodels: offline")
    assert Config.load(path, engine=None).catalog.engine == "ray"
    assert Config.load(path, engine="local").catalog.engine == "local"
    assert Config.load(path, training={"steps": 0}).section(Spoke).training.steps == 0


def test_models_offline_names_the_set_that_packages_ship(tmp_path: Path) -> None:
    assert Config.load(written(tmp_path, "models: offline")).catalog.models == OFFLINE_MODELS
    assert Config.load(written(tmp_path, "models: {whisper: tiny.en}")).catalog.models.whisper == "tiny.en"


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        CatalogSettings().engine = "ray"  # type: ignore[misc]


def test_read_mapping_keeps_keys_as_text(tmp_path: Path) -> None:
    assert read_mapping(written(tmp_path, "2: a\n3.5: b")) == {"2": "a", "3.5": "b"}


def test_yaml_merge_keys_and_anchors_still_work(tmp_path: Path) -> None:
    text = "training: &t {steps: 4, learning_rate: 2}\nextra: {<<: *t, steps: 5}"
    assert Config.load(written(tmp_path, text)).section(Spoke).extra == Rates(steps=5, learning_rate=2)
