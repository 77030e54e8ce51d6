"""One demo home on each engine, made once; every end-to-end test looks at them."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tables import NUMBERS, contents, vectors

from catalog import demo, flow, models
from catalog.home import Home
from catalog.settings import Config


@dataclass(frozen=True)
class Ran:
    """A finished demo: what it reported, and its home."""

    result: dict[str, Any]
    config: Config
    tables: dict[str, list[str]]  # as they were when the demo ended
    rough: dict[str, list[str]]  # the same without what a model's last bits change
    vectors: dict[str, list[float]]

    @property
    def home(self) -> Home:
        return Home.open(self.config.catalog)

    @property
    def site(self) -> str:
        return str(self.result["site"])


def run_demo(root: Path, engine: str) -> Ran:
    result = demo.run(root, engine)
    config = demo.configuration(root, result["site"], engine)
    with Home.open(config.catalog) as home:
        return Ran(result, config, contents(home), contents(home, NUMBERS), vectors(home))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The demo, run in this process."""
    return run_demo(tmp_path_factory.mktemp("local") / "home", "local")


@pytest.fixture(scope="session")
def on_ray(local: Ran, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """The demo, run on Ray, on the same port, so that URLs and ids are the same."""
    yield run_demo(tmp_path_factory.mktemp("ray") / "home", "ray")
    flow.stop_ray()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A copy of the demo site that a test may change."""
    return Path(shutil.copytree(models.examples_dir() / "site", tmp_path / "site"))
