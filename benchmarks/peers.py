"""Where the systems that headrace is compared with are installed: an environment of their own, made by `make peers`."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".venv-peers"


def python() -> Path | None:
    """Return the interpreter that can import the peers, or None where `make peers` was not run."""
    found = Path(os.environ.get("HEADRACE_PEERS", FOLDER)) / "bin" / "python"
    return found if found.is_file() else None


def missing(name: str) -> str:
    """Say that a peer's figures are left out, and how to get them."""
    return f"{name}: SKIPPED, the peers are not installed; run make peers"
