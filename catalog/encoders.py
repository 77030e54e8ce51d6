"""What the hub needs of an encoder to search by words or by picture; packages offer theirs as `headrace.encoders`."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TextEncoder(Protocol):
    """Turns texts into vectors that can be compared with those stored under the same model and revision."""

    @property
    def model(self) -> str:
        """The model's name, as stored beside its vectors."""

    @property
    def revision(self) -> str:
        """The revision of its weights, as stored beside its vectors."""

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return L2-normalised vectors, [N, D]."""


class PictureEncoder(TextEncoder, Protocol):
    """Turns texts and pictures into vectors of one space."""

    def encode_images(self, payloads: Sequence[bytes]) -> NDArray[np.float32]:
        """Return L2-normalised vectors, [N, D], of picture files; raise InputError if one cannot be decoded."""
