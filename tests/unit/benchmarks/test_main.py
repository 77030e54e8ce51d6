"""`python -m benchmarks` runs what has its data, says what it skipped and writes what it measured."""

import json
import subprocess
import sys
from pathlib import Path


def run(repo: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=repo, capture_output=True, text=True)


def test_a_benchmark_without_its_data_is_named_as_skipped(repo: Path, tmp_path: Path) -> None:
    done = run(repo, "annotate_speed", "--data", str(tmp_path), "--results", str(tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    assert f"annotate_speed: SKIPPED, {tmp_path}/pages/ground-truth.json is not there" in done.stdout
    assert not (tmp_path / "results").exists()


def test_figures_peak_memory_and_machine_are_written(repo: Path, tmp_path: Path) -> None:
    texts = tmp_path / "pages" / "ground-truth.json"
    texts.parent.mkdir()
    texts.write_text(json.dumps({"one": {"articleBody": "Maria Lopez, president of Siemens, spoke in Paris."}}))
    done = run(repo, "annotate_speed", "--data", str(tmp_path), "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*-annotate_speed.json")
    found = json.loads(path.read_text())
    assert found["result"]["num_texts"] == 1
    assert found["result"]["ratio"] > 0
    assert found["peak_mib"] > 50
    assert found["machine"]["cpus"] > 0
    assert "ratio" in done.stdout


def test_a_benchmark_that_fails_is_a_failure(repo: Path, tmp_path: Path) -> None:
    texts = tmp_path / "pages" / "ground-truth.json"
    texts.parent.mkdir()
    texts.write_text("not JSON")
    done = run(repo, "annotate_speed", "--data", str(tmp_path), "--results", str(tmp_path / "results"))
    assert done.returncode == 1
    assert "annotate_speed: FAILED" in done.stdout


def test_an_unknown_name_is_refused(repo: Path) -> None:
    done = run(repo, "nothing")
    assert done.returncode == 2
    assert "no benchmark is called nothing" in done.stderr


def test_publish_measures_both_sides_of_the_same_files(repo: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.publish", "--rounds", "1", "--rows", "2", "--json"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ratio"] == found["mean_seconds"]["ours"] / found["mean_seconds"]["bare"]
    assert all(found["peak_mib"][side] > 50 for side in ("ours", "bare", "bare_unchecked"))


def test_the_page_of_measurements_is_made_of_the_newest_results(repo: Path) -> None:
    made = [sys.executable, "-c", "from benchmarks.report import page; print(page(), end='')"]
    done = subprocess.run(made, cwd=repo, capture_output=True, text=True)
    assert done.stdout == (repo / "benchmarks" / "README.md").read_text(), "run python -m benchmarks.report"
    assert done.stdout.count("\n| ") > 10
