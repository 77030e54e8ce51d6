"""The scoreboard's figures in their shortest form, and the command that prints them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from catalog import scoreboard
from catalog.care_cli import app
from catalog.errors import InputError
from catalog.proving import MeansMissing, deaths, full_disk, power, suites, takedown
from catalog.scoreboard import Figure, Measured


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace: apt install strace")
def test_what_was_acknowledged_survives_a_power_loss(tmp_path: Path) -> None:
    states, wrong = power.measure(tmp_path, 2)
    assert (states, wrong) == (4, [])


def test_the_replay_loses_what_was_not_synced(tmp_path: Path) -> None:
    replay = power.Replay(Path("/home"))

    def text(name: str) -> str:
        return '"' + "".join(f"\\x{byte:02x}" for byte in name.encode()) + '"'

    for call, arguments, result in [
        ("mkdir", f"{text('/home/d')}, 0777", 0),
        ("openat", f"AT_FDCWD, {text('/home/d/f')}, O_WRONLY|O_CREAT|O_TRUNC", 3),
        ("write", f"3<x>, {text('kept')}, 4", 4),
        ("fsync", "3<x>", 0),
        ("write", f"3<x>, {text(' lost')}, 5", 5),
        ("rename", f"{text('/home/d/f')}, {text('/home/d/g')}", 0),
        ("openat", f"AT_FDCWD, {text('/home')}, O_RDONLY", 4),
        ("fsync", "4<x>", 0),
    ]:
        replay.follow(call, arguments, result)
    replay.tree.write_out(tmp_path / "strict", False)
    assert list((tmp_path / "strict").rglob("*")) == [tmp_path / "strict" / "d"], "no name below d was synced"
    replay.tree.write_out(tmp_path / "names", True)
    assert (tmp_path / "names" / "d" / "g").read_bytes() == b"kept"


@pytest.mark.slow
def test_a_full_disk_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    try:
        trials, stopped, wrong = full_disk.measure(tmp_path, 3, 1)
    except MeansMissing as error:
        pytest.skip(str(error))
    assert (trials, wrong) == (4, [])
    assert stopped >= 2


@pytest.mark.slow
@pytest.mark.ray
def test_ray_workers_and_drivers_that_die_cost_little(tmp_path: Path) -> None:
    ratio, wrong = deaths.measure(tmp_path, 1, 1)
    assert wrong == []
    assert 1.0 <= ratio <= deaths.MOST_WORK


@pytest.mark.slow
def test_no_byte_of_what_was_taken_down_stays_or_comes_back(tmp_path: Path) -> None:
    markers, found, back, problems = takedown.measure(tmp_path)
    assert markers > 20
    assert (found, back, problems) == (0, 0, [])


def fail(folder: Path, short: bool) -> Measured:
    raise AssertionError("2 rows were lost")


def lack(folder: Path, short: bool) -> Measured:
    raise MeansMissing("strace is not installed; on Debian and Ubuntu: apt install strace")


def hold(folder: Path, short: bool) -> Measured:
    assert folder.is_dir()
    return Measured("short" if short else "long", True)


def test_the_command_tells_met_missed_and_not_measured_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [Figure(number, "a figure", "0", measure) for number, measure in ((1, hold), (2, lack), (3, fail))]
    monkeypatch.setattr(scoreboard, "FIGURES", figures)
    told = CliRunner().invoke(app, ["scoreboard", "--short", "--json", "--output", str(tmp_path / "told.json")])
    rows = json.loads(told.stdout)["rows"]
    assert told.exit_code == 1, "a target was missed"
    assert [(row["figure"], row["met"], row["value"].partition(":")[0]) for row in rows] == [
        (1, True, "short"), (2, None, "not measured"), (3, False, "failed"),
    ]  # fmt: skip
    assert rows[2]["problems"] == ["2 rows were lost"]
    assert json.loads((tmp_path / "told.json").read_text())["rows"] == rows
    some = CliRunner().invoke(app, ["scoreboard", "--only", "1", "--only", "2"])
    assert some.exit_code == 0, "what cannot be measured here is no failure"
    assert "apt install strace" in " ".join(some.stdout.split())
    again = CliRunner().invoke(app, ["scoreboard", "--short", "--only", "1", "--output", str(tmp_path / "told.json")])
    assert again.exit_code == 0
    kept = json.loads((tmp_path / "told.json").read_text())
    assert [row["figure"] for row in kept["rows"]] == [1, 2, 3], "what was measured before stays"
    assert kept["rows"][1:] == rows[1:]
    assert not kept["ok"]
    CliRunner().invoke(app, ["scoreboard", "--only", "1", "--output", str(tmp_path / "told.json")])
    assert [row["value"] for row in json.loads((tmp_path / "told.json").read_text())["rows"]] == ["long"]
    with pytest.raises(InputError, match="--only 7: there is no such figure"):
        scoreboard.scoreboard([7])


def test_figures_of_the_checkout_are_its_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measures = [figure.measure for figure in scoreboard.FIGURES if isinstance(figure.measure, scoreboard.Tests)]
    assert len(measures) == 4
    assert [name for one in measures for name in one.names if not (suites.CHECKOUT / name).is_file()] == []
    test = tmp_path / "test_it.py"
    test.write_text(
        "def test_it(record_property):\n    record_property('hits', 0)\n\ndef test_not():\n    assert False\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setattr(suites, "CHECKOUT", tmp_path)
    assert suites.measure(tmp_path / "out", ["test_it.py"], {}) == (2, ["test_it::test_not"], {"hits": "0"})
    with pytest.raises(MeansMissing, match="is part of the source checkout"):
        suites.measure(tmp_path / "out", ["absent.py"], {})


def test_no_assertion_may_be_optimised_away() -> None:
    command = [sys.executable, "-O", "-m", "catalog.cli", "scoreboard", "--only", "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run without it" in done.stderr
