"""Named places where a fault test may kill this process; nothing happens unless HEADRACE_FAILPOINT is set."""

import os
import signal

_ARMED = os.environ.get("HEADRACE_FAILPOINT", "")
_passed = 0


def reach(name: str) -> None:
    """Die by SIGKILL if HEADRACE_FAILPOINT is `name:n` (or `*:n`) and this is its n-th passing."""
    global _passed
    if not _ARMED:
        return
    wanted, _, count = _ARMED.rpartition(":")
    if wanted in ("*", name):
        _passed += 1
        if _passed == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
