"""`headrace models`: the documented JSON, and tables for people."""

import json
from pathlib import Path

import pytest
import toytrain
import yaml
from typer.testing import CliRunner

from catalog import pipeline
from catalog.errors import InputError
from catalog.home import Home
from trainer.cli import app


@pytest.fixture(scope="module")
def home(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one promoted version."""
    root = tmp_path_factory.mktemp("home")
    config = toytrain.make_config(root, tiny_lm)
    (root / "config.json").write_text(json.dumps(config.given))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "stages", pipeline.stages)
        toytrain.install()
        toytrain.fuse(Home.open(config.catalog), "a", toytrain.batch_of("tea", 0, 4))
        toytrain.train(root, tiny_lm)
    return root


def call(*args: str) -> str:
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_prints_one_json_document(home: Path) -> None:
    (version,) = json.loads(call("models", "list", "--root", str(home), "--json"))["versions"]
    assert set(version) == {"version", "created", "base", "metrics", "promoted"}
    assert (version["version"], version["promoted"]) == ("v1", True)
    assert version["metrics"]["after"]["new"]["perplexity"] < version["metrics"]["before"]["new"]["perplexity"]


def test_list_shows_the_perplexity_before_and_after(home: Path) -> None:
    printed = call("models", "list", "--root", str(home))
    assert "v1" in printed
    assert "→" in printed


def test_show_tells_the_whole_story(home: Path) -> None:
    printed = call("models", "show", "v1", "--root", str(home))
    for word in ("v1: promoted", "held-out loss fell", "perplexity", "prompt", "before", "after"):
        assert word in printed
    manifest = json.loads(call("models", "show", "v1", "--root", str(home), "--json"))
    assert manifest["config"]["training_args"]["learning_rate"] == 1e-2
    assert manifest["gate"]["approver"] == "gate"
    assert manifest["libraries"].keys() == {"torch", "transformers", "peft", "headrace"}


def test_an_unknown_version_is_a_clear_error(home: Path) -> None:
    with pytest.raises(InputError, match="v7: no such model version; known: v1"):
        call("models", "show", "v7", "--root", str(home))


def test_a_folder_without_a_home_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no headrace home here"):
        call("models", "list", "--root", str(tmp_path))


def test_versions_go_to_the_configured_repository(home: Path, tiny_lm: Path, tmp_path: Path) -> None:
    root = tmp_path / "home"
    config = toytrain.make_config(root, tiny_lm, monitoring={"versioning": {"repository": str(tmp_path / "models")}})
    Home.open(config.catalog)
    (root / "config.json").write_text(json.dumps(config.given))
    assert json.loads(call("models", "list", "--root", str(root), "--json")) == {"versions": []}
    assert "no model versions yet" in call("models", "list", "--root", str(root))
    assert yaml.safe_load((root / "config.json").read_text())["monitoring"]
