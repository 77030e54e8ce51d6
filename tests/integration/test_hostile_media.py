"""Files made to harm whoever decodes them: each is turned away with a reason, and costs nobody else anything."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from catalog.schema import Reason

SECONDS = os.environ.get("HEADRACE_TEST_DECODE_SECONDS", "2")  # the product's own limit is 30


def test_hostile_media_are_rejects_within_bounds(repo: Path, record_property: Callable[[str, object], None]) -> None:
    # in a process of its own: what other tests left in this one, or start beside it, is not to be measured
    judge = [sys.executable, str(repo / "tests/support/hostile_media.py"), SECONDS]
    told = json.loads(subprocess.run(judge, cwd=repo, stdout=subprocess.PIPE).stdout)
    for name in ("files", "longest_seconds", "peak_mib"):
        record_property(name, told[name])
    assert told["files"] >= 40
    assert not [name for name, reason in told["reasons"].items() if reason is None]
    assert {word for reason in told["reasons"].values() for word in reason.split(" and ")} == {
        Reason.DECODE_ERROR, Reason.TIMEOUT, Reason.TOO_LONG, Reason.TOO_MANY_FRAMES, Reason.TOO_MANY_PIXELS,
        Reason.UNSUPPORTED_FORMAT,
    }  # fmt: skip
    assert told["reasons"]["30000 scans.jpg"] == Reason.TIMEOUT
    assert told["peak_mib"] <= 512
