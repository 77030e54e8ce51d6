"""The configurations that ship load as they stand, and the reference is the code's own defaults."""

from pathlib import Path

import pytest

from catalog.config_file import read_mapping
from catalog.settings import Config, section_models


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parents[2] / "configs").glob("*.yaml")))
def test_every_shipped_configuration_loads(repo: Path, name: str) -> None:
    Config.load(repo / "configs" / name)


def test_the_reference_states_the_defaults(repo: Path) -> None:
    reference, defaults = Config.load(repo / "configs" / "reference.yaml"), Config({})
    for model in section_models():
        assert reference.section(model) == defaults.section(model), model.__name__


def test_the_reference_leaves_no_setting_of_the_hub_or_the_intake_out(repo: Path) -> None:
    written = read_mapping(repo / "configs" / "reference.yaml")
    for model in section_models():
        if model.__name__ in ("CatalogSettings", "IngestSettings"):
            assert set(model.model_fields) <= set(written)
    network = Config({}).section(next(m for m in section_models() if m.__name__ == "IngestSettings")).model_dump()
    for section in ("network", "cleaning_rules", "extract"):
        assert set(written[section]) == set(network[section])
