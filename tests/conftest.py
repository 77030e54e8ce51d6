"""Fixtures for every test: a scrubbed environment, the shared material, and a hub with cheap stages."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from catalog import pipeline

# The same examples at every run, and no deadlines: a slow machine is no fault of the code.
settings.register_profile("headrace", deadline=None, derandomize=True)
settings.load_profile("headrace")

STAGES = pipeline.stages
REPO = Path(__file__).parent.parent
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, which collecting the tests may do


@pytest.fixture(autouse=True)
def _scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADRACE_") and name != "HEADRACE_CACHE"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="module")
def _real_stages() -> Iterator[None]:
    """Put the installed stages back after a module that worked with others."""
    pipeline.stages = STAGES  # type: ignore[assignment]
    yield
    pipeline.stages = STAGES  # type: ignore[assignment]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real pages, pictures and speech that are not part of the project."""
    folder = REPO.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs ../shared/data, which users do not have")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray with two logical GPUs for every test that needs it."""
    import ray

    from catalog import flow

    with pytest.MonkeyPatch.context() as patch:  # what the workers inherit: they import the toy stages by name
        patch.setenv("PYTHONPATH", os.pathsep.join([str(REPO / "tests" / "support"), str(REPO)]))
        ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        flow.start_ray()
        yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real language model of about 100,000 weights and its tokenizer."""
    import toytrain

    return toytrain.make_model(tmp_path_factory.mktemp("lm") / "tiny-lm")
