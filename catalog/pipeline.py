"""The stages in order, and the recipe of each: a hash of every setting and version that its rows depend on."""

from functools import cache
from graphlib import TopologicalSorter
from importlib.metadata import entry_points

from catalog.errors import ConfigError
from catalog.ids import settings_hash
from catalog.ledger import ORIGIN
from catalog.settings import Config
from catalog.stage import Stage


@cache
def stages() -> dict[str, Stage]:
    """Return every installed stage by name, each after those that it reads or waits for."""
    found: dict[str, Stage] = {point.name: point.load() for point in entry_points(group="headrace.stages")}
    order = TopologicalSorter({name: [*stage.reads, *stage.waits_for] for name, stage in sorted(found.items())})
    return {name: found[name] for name in order.static_order() if name in found}


def enabled(config: Config) -> list[Stage]:
    """Return the stages that a configuration uses, in order."""
    return [stage for name, stage in stages().items() if name in config.catalog.stages]


def stage_named(name: str, config: Config) -> Stage:
    """Return one enabled stage; raise ConfigError if the configuration leaves it out."""
    for stage in enabled(config):
        if stage.name == name:
            return stage
    raise ConfigError(f"{config.where}: stage '{name}' is not among 'stages'; add it there")


def parents(stage: Stage, config: Config) -> list[Stage]:
    """Return the enabled stages that a stage reads or waits for."""
    return [other for other in enabled(config) if other.name in (*stage.reads, *stage.waits_for)]


def recipe(stage: Stage, config: Config) -> str:
    """Hash a stage's result settings and version with the recipes of the stages before it."""
    if not stage.reads:
        return ORIGIN
    if stage.name not in config.recipes:
        config.recipes[stage.name] = settings_hash(
            {
                "stage": stage.name,
                "version": stage.result_version,
                "settings": dict(stage.settings(config)),
                "after": {parent.name: recipe(parent, config) for parent in parents(stage, config)},
            }
        )
    return config.recipes[stage.name]
