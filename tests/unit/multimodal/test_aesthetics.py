"""Linear heads over CLIP vectors, from files of three kinds."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from catalog.errors import InputError
from multimodal.aesthetics import load_head

WEIGHT = np.arange(4, dtype=np.float32)[None]
BIAS = np.array([0.5], np.float32)


def write(path: Path, weight: np.ndarray = WEIGHT, bias: np.ndarray = BIAS) -> Path:
    match path.suffix:
        case ".npz":
            np.savez(path, weight=weight, bias=bias)
        case ".pth":
            torch.save({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}, path)
        case ".safetensors":
            save_file({"weight": weight, "bias": bias}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pth", ".safetensors"])
def test_a_score_is_the_weighted_sum_whatever_the_file(suffix: str, tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)[[3, 1]]
    assert load_head(write(tmp_path / f"head{suffix}"), 4)(vectors).tolist() == [3.5, 1.5]


def test_a_head_for_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"head\.npz: weight has 4 numbers and bias 1; .* need 512"):
        load_head(write(tmp_path / "head.npz"), 512)


def test_a_file_that_holds_no_head_is_named(tmp_path: Path) -> None:
    for name in ("empty.pth", "empty.npz", "empty.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, WEIGHT)
    torch.save(torch.zeros(4), tmp_path / "tensor.pth")
    np.savez(tmp_path / "words.npz", weight=np.array(["a", "b", "c", "d"]))
    for path in tmp_path.iterdir():
        with pytest.raises(InputError, match=rf"embed\.aesthetic: .*{path.name}: "):
            load_head(path, 4)


@pytest.mark.parametrize("name", ["half.pth", "half.safetensors"])
def test_numbers_of_half_precision_are_read(name: str, tmp_path: Path) -> None:
    head = {"weight": torch.from_numpy(WEIGHT).bfloat16(), "bias": torch.from_numpy(BIAS).bfloat16()}
    torch.save(head, tmp_path / name) if name.endswith(".pth") else save_tensors(head, tmp_path / name)
    assert load_head(tmp_path / name, 4)(np.eye(4, dtype=np.float32)[[3, 1]]).tolist() == [3.5, 1.5]


class _Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("owned"),)  # type: ignore[return-value]


def test_no_pickle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").write_bytes(pickle.dumps(_Attack(), protocol=2))
    np.savez(tmp_path / "b.npz", weight=np.array([_Attack()], object))
    (tmp_path / "c.safetensors").write_bytes(b"\x08" + bytes(30))
    (tmp_path / "d.txt").write_text("1 2 3 4")
    for name in ("a.pth", "b.npz", "c.safetensors", "d.txt", "absent.npz"):
        with pytest.raises(InputError, match=rf"embed\.aesthetic: .*{name}: "):
            load_head(tmp_path / name, 4)
    assert not (tmp_path / "owned").exists()
