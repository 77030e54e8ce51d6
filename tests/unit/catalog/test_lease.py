"""A collector sees what living drivers work on, whatever they do meanwhile."""

from pathlib import Path

import pytest

from catalog import lease
from catalog.lease import Lease


def test_a_driver_may_end_while_a_collector_looks_at_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending, staying = Lease(tmp_path), Lease(tmp_path)
    ending.hold("a")
    staying.hold("b")
    look = lease._living

    def look_late(path: Path) -> list[str]:
        ending.close()  # after the collector listed its file
        return look(path)

    monkeypatch.setattr(lease, "_living", look_late)
    with lease.collecting(tmp_path) as leased:
        assert leased == {"b"}
    staying.close()
