"""What a run leaves for the commands that take no configuration."""

from pathlib import Path

import pytest

from catalog import run
from catalog.home import Home
from catalog.settings import Config


def test_a_relative_warehouse_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with run.open_home(Config({"root": "home", "warehouse": "lake"})) as home:
        warehouse = home.warehouse
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with Home.open(run.last_config(tmp_path / "home").catalog) as home:
        assert home.warehouse == warehouse == str(tmp_path / "lake")
    assert list(elsewhere.iterdir()) == []


def test_a_warehouse_that_nobody_set_moves_with_its_home(tmp_path: Path) -> None:
    run.open_home(Config({"root": str(tmp_path / "home")})).close()
    assert run.last_config(tmp_path / "home").catalog.warehouse is None
