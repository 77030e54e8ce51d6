"""Real models, loaded once a session."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from catalog.models import Weights, resolve
from multimodal.encoders import ClipEncoder, SentenceEncoder, load_clip, load_sentences


def _packaged(task: str, name: str) -> Weights:
    weights = resolve(task, name)  # type: ignore[arg-type]
    if weights.path is None:
        pytest.skip(f"needs {name}, which headrace[offline-models] installs")
    return weights


@pytest.fixture(scope="session")
def clip() -> ClipEncoder:
    return load_clip(resolve("clip", "tiny_clip"))


@pytest.fixture(scope="session")
def sentences() -> SentenceEncoder:
    return load_sentences(_packaged("text", "all-MiniLM-L6-v2"))


@pytest.fixture(scope="session")
def whisper_weights() -> Weights:
    return _packaged("whisper", "tiny.en")


@pytest.fixture(scope="session")
def site() -> Path:
    return Path(__file__).parents[3] / "examples" / "site"


@pytest.fixture(scope="session")
def encode_image() -> Callable[..., bytes]:
    """Turn an image into the bytes of a file."""

    def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def noise() -> NDArray[np.float32]:
    """Ten seconds of white noise at 16 kHz."""
    return (np.random.default_rng(7).normal(size=160_000) * 0.1).astype(np.float32)
