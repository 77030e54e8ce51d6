"""How pleasing a picture is, by a linear head over its CLIP vector, such as LAION's aesthetic predictor (2022)."""

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
    except OSError as error:
        raise InputError(f"embed.aesthetic: {path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"embed.aesthetic: {path}: {error}") from error
    weight = np.asarray(arrays.get("weight", ()), np.float32).ravel()
    bias = np.asarray(arrays.get("bias", 0.0), np.float64).ravel()
    if len(weight) != dimension or len(bias) != 1:
        raise InputError(
            f"embed.aesthetic: {path}: weight has {len(weight)} numbers and bias {len(bias)}; this CLIP model's "
            f"vectors need {dimension} and 1"
        )
    return LinearHead(weight, float(bias[0]))


def _arrays(path: Path) -> dict[str, Any]:
    """Read named arrays; raise OSError, or ValueError if they are no such file."""
    match path.suffix:
        case ".safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import load_file

            try:
                return dict(load_file(path))
            except SafetensorError as error:
                raise ValueError(f"no safetensors file: {error}") from error
        case ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        case ".pth" | ".pt":
            import pickle

            import torch

            try:
                return dict(torch.load(path, map_location="cpu", weights_only=True))
            except (pickle.UnpicklingError, RuntimeError) as error:
                raise ValueError(f"no file of tensors alone: {error}") from error
    raise ValueError("write a .safetensors, .npz or .pth file")
