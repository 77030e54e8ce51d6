"""The models that hear: silero finds where speech is, Whisper writes it down. They are loaded here."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from catalog.errors import ConfigError, ModelUnavailable
from catalog.models import Weights, cache_dir, remedy
from multimodal import hub
from multimodal.audio import SAMPLE_RATE
from multimodal.backends import choose_backend
from multimodal.chunks import one_torch_thread
from multimodal.clips import PAD, WINDOW
from multimodal.doubts import Span
from multimodal.engines import Engine, Samples
from multimodal.settings import TranscribeSettings
from multimodal.transcriber import Transcriber


class VoiceDetector:
    """silero's voice activity detector; its weights come with its package."""

    def __init__(self) -> None:
        with one_torch_thread():  # importing silero_vad sets the process to one thread; this puts it back
            import silero_vad
        self._network = silero_vad.load_silero_vad(sequence=True)
        self._detect = silero_vad.get_speech_timestamps_sequence

    def __call__(self, samples: Samples, threshold: float) -> list[Span]:
        """Return the spans of speech in seconds, none longer than a window of Whisper."""
        longest = WINDOW - 2 * PAD
        found = self._detect(samples, self._network, threshold=threshold, max_speech_duration_s=longest)
        return [(item["start"] / SAMPLE_RATE, item["end"] / SAMPLE_RATE) for item in found]


def load_transcriber(weights: Weights, settings: TranscribeSettings, device: str, threads: int) -> Transcriber:
    """Load a transcriber whose threads share one set of weights; raise ModelUnavailable or ConfigError."""
    backend = choose_backend(settings, weights)
    found = hub.locate(weights, backend)
    if found is None or found.path is None:
        raise ModelUnavailable(remedy(weights.task, weights.name))
    if backend == "faster-whisper":
        engines = _faster(found.path, device, settings.compute_type, threads)
    else:
        engines = _openai(found, device, threads)
    return Transcriber(engines, [VoiceDetector() for _ in range(threads)], settings)


def _faster(folder: Path, device: str, compute_type: str, threads: int) -> Sequence[Engine]:
    if not (folder / "model.bin").is_file():
        raise ConfigError(
            f"transcribe.backend: faster-whisper reads CTranslate2 folders, not {folder}; write backend: whisper"
        )
    from faster_whisper import WhisperModel

    from multimodal.faster_engine import FasterEngine

    compute = "float16" if device == "cuda" else compute_type
    network = WhisperModel(str(folder), device, compute_type=compute, cpu_threads=1, num_workers=threads)
    return [FasterEngine(network)] * threads


def _openai(weights: Weights, device: str, threads: int) -> Sequence[Engine]:
    import whisper

    from multimodal.openai_engine import OpenAIEngine

    network = whisper.load_model(str(checkpoint(weights)), device=device)
    heads = _alignment_heads(weights)
    if heads:
        network.register_buffer("alignment_heads", _head_mask(network, heads).to_sparse(), persistent=False)
    engine = OpenAIEngine(network)
    with warnings.catch_warnings():  # whisper never closes its vocabulary; it is read once, here
        warnings.simplefilter("ignore", ResourceWarning)
        engine.tokenizer("en")
    return [engine] * threads


def checkpoint(weights: Weights) -> Path:
    """Return an openai-whisper checkpoint: the file given, one in the folder, or one made from CTranslate2's."""
    assert weights.path is not None
    if weights.path.is_file():
        return weights.path
    if (weights.path / "model.bin").is_file():
        from multimodal.ct2 import convert_once

        name = f"{weights.name.replace('/', '--')}-{weights.revision.replace(':', '-')}.pt"
        return convert_once(weights.path, cache_dir() / "whisper" / name)
    found = sorted(weights.path.glob("*.pt"))
    if not found:
        raise ModelUnavailable(
            f"{weights.path}: neither a .pt of openai-whisper nor a model.bin of CTranslate2 is in it"
        )
    return found[0]


def _alignment_heads(weights: Weights) -> list[tuple[int, int]]:
    """Return the (layer, head) pairs that follow the audio, as CTranslate2's config.json lists them."""
    assert weights.path is not None
    config = weights.path / "config.json"
    if not config.is_file():
        return []
    return [(layer, head) for layer, head in json.loads(config.read_text(encoding="utf-8")).get("alignment_heads", [])]


def _head_mask(network: Any, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    mask = torch.zeros(network.dims.n_text_layer, network.dims.n_text_head, dtype=torch.bool)
    for layer, head in heads:
        mask[layer, head] = True
    return mask.to(network.device)
