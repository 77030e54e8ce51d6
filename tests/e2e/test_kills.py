"""The full chain, killed again and again, ends where an untouched one ends."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import NUMBERS, contents, vectors

from catalog import demo, doctor, models
from catalog.home import Home
from catalog.settings import Config

pytestmark = pytest.mark.slow

KILLS = 5
SEED = 20261122
TRAINING = {**demo.TRAINING, "max_steps": 2, "max_length": 64}


def drive(config: Path, failpoint: str) -> int:
    """Run the chain in a process of its own; it dies at the failpoint, or ends."""
    command = [sys.executable, "-m", "catalog.cli", "run", str(config)]
    environment = {**os.environ, "HEADRACE_FAILPOINT": failpoint}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_five_kills_of_the_full_chain_lose_and_double_nothing(local, tmp_path: Path) -> None:
    """`local` is the untouched reference: the demo on the same port, so URLs and ids agree."""
    chance = random.Random(SEED)
    root = tmp_path / "home"
    with demo.serve(models.examples_dir() / "site") as site:
        assert site == local.site
        given = demo.configuration(root, site, "local").given | {"training_args": TRAINING}
        config = tmp_path / "config.json"
        config.write_text(json.dumps(given))
        killed = 0
        while killed < KILLS:
            code = drive(config, f"*:{chance.randint(3, 14)}")
            if code == 0:
                break
            assert code == -signal.SIGKILL
            killed += 1
        assert killed == KILLS, "the chain ended before it was killed often enough"
        assert drive(config, "") == 0
        again = drive(config, "*:1")
    assert again == 0, "a finished chain still had something to publish"

    home = Home.open(Config(given).catalog)
    expected, found = local.rough, contents(home, NUMBERS)
    for table in expected:
        assert found[table] == expected[table], table
    ours = vectors(home)
    assert ours.keys() == local.vectors.keys()
    for name, vector in ours.items():
        np.testing.assert_allclose(vector, local.vectors[name], atol=1e-5, err_msg=name)
    published = [row.batch_id for row in home.ledger.refresh().rows if row.kind == "publish"]
    assert len(set(published)) == len(published)
    result = doctor.doctor(home, Config(given))
    assert result["ok"], [check for check in result["checks"] if not check["ok"]]
    versions = list((root / "models" / "versions").glob("v*/manifest.json"))
    assert len(versions) == 1
