"""How pleasing a picture is, by a linear head over its CLIP vector, such as LAION's aesthetic predictor (2022)."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.errors import InputError


class LinearHead:
    """One score for each vector: weight · vector + bias."""

    def __init__(self, weight: NDArray[np.float32], bias: float) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score L2-normalised vectors, [N, D] → [N]."""
        # not a matrix product, whose last bits depend on N
        return np.asarray((vectors.astype(np.float64) * self._weight).sum(axis=1) + self._bias)


def load_head(path: Path, dimension: int) -> LinearHead:
    """Load `weight` of `dimension` numbers and `bias` (0 if absent) from .safetensors, .npz or .pth; raise InputError.

    A pickle may hold nothing but tensors.
    """
    try:
        arrays = _arrays(path.expanduser())
        weight = np.asarray(arrays.get("weight", ()), np.float32).ravel()
        bias = np.asarray(arrays.get("bias", 0.0), np.float64).ravel()
    except OSError as error:
        raise InputError(f"embed.aesthetic: {path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"embed.aesthetic: {path}: {error}") from error
    if len(weight) != dimension or len(bias) != 1:
        raise InputError(
            f"embed.aesthetic: {path}: weight has {len(weight)} numbers and bias {len(bias)}; this CLIP model's "
            f"vectors need {dimension} and 1"
        )
    return LinearHead(weight, float(bias[0]))


def _arrays(path: Path) -> dict[str, Any]:
    """Read named arrays; raise OSError, ValueError or TypeError if they are no such file."""
    match path.suffix:
        case ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return _floats(load_file(path))
            except SafetensorError as error:
                raise ValueError(f"no safetensors file: {error}") from error
        case ".npz":
            try:
                with path.open("rb") as file:
                    return dict(np.lib.npyio.NpzFile(file, allow_pickle=False))
            except zipfile.BadZipFile as error:
                raise ValueError(f"no npz file: {error}") from error
        case ".pth" | ".pt":
            import pickle

            import torch

            try:
                return _floats(dict(torch.load(path, map_location="cpu", weights_only=True)))
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                raise ValueError(f"no file of tensors alone: {error or 'it is empty'}") from error
    raise ValueError("write a .safetensors, .npz or .pth file")


def _floats(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Turn tensors into arrays, those of bfloat16 too, which NumPy does not know; leave anything else as it is."""
    return {name: value.float().numpy() if hasattr(value, "float") else value for name, value in tensors.items()}
