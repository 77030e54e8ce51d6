"""What a file can do to the process that decodes it, and what it cannot do to others."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catalog.errors import WorkerLost
from catalog.schema import Reason
from multimodal.decode import Reject
from multimodal.sandbox import Sandbox

LIMIT = 1_500_000_000


def decode(how: str) -> object:
    """Behave as a decoder may on a file of strangers."""
    match how:
        case "hang":
            time.sleep(60)
        case "die":
            os._exit(9)
        case "eat":
            return len(bytearray(2 * LIMIT))
        case "raise":
            raise ZeroDivisionError("a bug of ours")
    path = Path(how)
    if path.suffix == ".once" and not path.exists():  # another process takes the memory, this one time
        path.touch()
        os._exit(9)
    return os.getpid()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox[[str], object]]:
    yield Sandbox(decode, 2, 1.0, LIMIT)


def reason(result: object) -> Reason:
    assert isinstance(result, Reject)
    assert result.detail
    return result.reason


def test_each_failure_has_its_reason_and_costs_no_neighbour(sandbox: Sandbox[[str], object]) -> None:
    with ThreadPoolExecutor(2) as pool:
        hang, one, die, two, eat, three = pool.map(sandbox, ["hang", "well", "die", "well", "eat", "well"])
    assert (reason(hang), reason(die), reason(eat)) == (Reason.TIMEOUT, Reason.DECODE_ERROR, Reason.DECODE_ERROR)
    assert all(isinstance(pid, int) and pid != os.getpid() for pid in (one, two, three))


def test_a_file_whose_process_was_killed_by_another_is_decoded_again(
    sandbox: Sandbox[[str], object], tmp_path: Path
) -> None:
    assert isinstance(sandbox(str(tmp_path / "killed.once")), int)


def test_a_bug_is_no_fault_of_the_file(sandbox: Sandbox[[str], object]) -> None:
    with pytest.raises(ZeroDivisionError):
        sandbox("raise")


def test_children_that_cannot_start_reject_no_file() -> None:
    with pytest.raises(WorkerLost, match="memory left"):
        Sandbox(_Unloadable(), 1, 1.0)("well")


class _Unloadable:
    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (9,)

    def __call__(self, how: str) -> object:
        raise NotImplementedError
