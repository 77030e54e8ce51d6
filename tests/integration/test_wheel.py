"""The wheel holds exactly the five packages, and works away from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PACKAGES = {"annotate", "catalog", "ingest", "multimodal", "trainer"}
HEAVY = {"torch", "ray", "pyarrow", "transformers", "spacy", "pyiceberg"}


@pytest.fixture(scope="module")
def wheel(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(repo)]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with only our wheel in it, and this environment's libraries behind it."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True, capture_output=True
    )
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True)
    (Path(site.strip()) / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_wheel_holds_exactly_the_five_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES


def test_the_wheel_carries_the_demo_and_the_data_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        "catalog/examples/site/index.html",
        "catalog/examples/site/robots.txt",
        "catalog/examples/tiny_clip/tiny_clip.safetensors",
        "annotate/patterns.yaml",
    }
    assert expected <= names


def test_help_runs_from_another_directory(python: Path, tmp_path: Path) -> None:
    command = [python.parent / "headrace", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("run", "crawl", "extract", "embed", "transcribe", "annotate", "dedup", "fuse", "train", "demo",
                 "preprocess", "status", "why", "sql", "export", "models", "doctor"):  # fmt: skip
        assert word in done.stdout


def test_help_loads_nothing_heavy_and_our_own_packages(python: Path, tmp_path: Path) -> None:
    script = """
import json, sys
sys.argv = ["headrace", "--help"]
from catalog import cli
try:
    cli.main()
except SystemExit:
    pass
sys.stderr.write(json.dumps([sorted(name for name in sys.modules if "." not in name), cli.__file__]))
"""
    done = subprocess.run(
        [python, "-c", script], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True
    )
    loaded, file = json.loads(done.stderr)
    assert not HEAVY & set(loaded)
    assert str(python.parent.parent) in file


def test_each_package_name_is_ours_alone(python: Path, tmp_path: Path) -> None:
    script = "import importlib.metadata as m, json; print(json.dumps(m.packages_distributions()))"
    out = subprocess.check_output([python, "-c", script], cwd=tmp_path, env=clean_environment(), text=True)
    owners = json.loads(out)
    assert {name: sorted(set(owners[name])) for name in PACKAGES} == {name: ["headrace"] for name in PACKAGES}
