"""Which speech recogniser to use: decided from what is installed, without loading any."""

from importlib.util import find_spec
from typing import Literal

from catalog.errors import ConfigError
from catalog.models import Weights
from multimodal.settings import TranscribeSettings

Backend = Literal["whisper", "faster-whisper"]


def choose_backend(settings: TranscribeSettings, weights: Weights) -> Backend:
    """Name the backend that `auto` means: faster-whisper where it is installed and can read the weights."""
    installed = find_spec("faster_whisper") is not None
    if settings.backend == "faster-whisper" and not installed:
        raise ConfigError("transcribe.backend: faster-whisper is not installed; pip install 'headrace[fast-asr]'")
    if settings.backend != "auto":
        return settings.backend
    readable = weights.path is None or (weights.path / "model.bin").is_file()
    return "faster-whisper" if installed and readable else "whisper"
