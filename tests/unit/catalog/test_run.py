"""What a run leaves for the commands that take no configuration."""

from pathlib import Path

import pytest

from catalog import evidence, run
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


def test_model_versions_in_a_relative_folder_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"root": str(tmp_path / "home"), "monitoring": {"versioning": {"repository": "versions"}}}
    monkeypatch.chdir(tmp_path)
    run.open_home(Config(given)).close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert evidence.model_repository(tmp_path / "home") == tmp_path / "versions"


def test_a_warehouse_that_nobody_set_moves_with_its_home(tmp_path: Path) -> None:
    run.open_home(Config({"root": str(tmp_path / "home")})).close()
    assert run.last_config(tmp_path / "home").catalog.warehouse is None


def test_credentials_are_not_written_into_the_home_and_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{tmp_path}/elsewhere.db"
    given = {
        "uri": database,
        "s3.secret-access-key": "hush",
        "s3.access-key-id": "AKIA",
        "token": "hush",
        "header.Authorization": "Bearer hush",
        "adls.connection-string": "AccountName=me;AccountKey=hush",
        "other": "postgresql://me@db/cat?password=hush&sslmode=require",
        "proxy": "http://me:hush@proxy.example:80/",
        "s3.endpoint": "http://minio:9000",
    }
    run.open_home(Config({"root": str(tmp_path / "home"), "catalog": given})).close()
    written = "".join(path.read_text() for path in (tmp_path / "home").glob("*.json"))
    assert "hush" not in written
    assert "AKIA" not in written
    kept = run.last_config(tmp_path / "home").catalog.catalog
    assert kept == {
        "uri": database,
        "other": "postgresql://me@db/cat?sslmode=require",
        "proxy": "http://me@proxy.example:80/",
        "s3.endpoint": "http://minio:9000",
    }
    monkeypatch.setenv("PYICEBERG_CATALOG__HEADRACE__URI", f"sqlite:///{tmp_path}/secret.db")
    Home.open(run.last_config(tmp_path / "home").catalog).close()
    assert (tmp_path / "secret.db").is_file(), "the environment's URI, with its password, is the one that counts"
