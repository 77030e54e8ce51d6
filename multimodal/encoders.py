"""The models that turn pictures and texts into vectors."""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from catalog.encoders import PictureEncoder
from catalog.encoders import TextEncoder as SearchEncoder
from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights, remedy, resolve
from catalog.settings import Config
from multimodal import hub
from multimodal.decode import Picture, Reject, decode_image

MAX_RATIO = 32  # of a picture's sides
DEFAULT_PROMPT = "a photo of a {}"


class ClipEncoder:
    """An open_clip model: pictures and texts to float32 [N, D], L2-normalised. Safe to call from many threads."""

    def __init__(self, folder: Path, weights: Weights, device: str) -> None:
        import open_clip

        source = f"local-dir:{folder}"
        with _quiet():
            model, _, self._preprocess = open_clip.create_model_and_transforms(source, device=device)
            self._tokenize = open_clip.get_tokenizer(source)
        self._network = model.eval()
        self._device = device
        self.model = weights.name
        self.revision = weights.revision
        self.prompt: str = _declared(folder).get("prompt", DEFAULT_PROMPT)

    def prepare(self, image: Picture) -> torch.Tensor:
        """Resize and normalise an RGB picture as the model's configuration declares: float32 [3, H, W]."""
        tensor: torch.Tensor = self._preprocess(middle_of_strip(image))
        return tensor

    @torch.inference_mode()
    def encode(self, prepared: Sequence[torch.Tensor]) -> NDArray[np.float32]:
        """Encode prepared pictures as one batch."""
        batch = torch.stack(list(prepared)).to(self._device)
        return _numpy(self._network.encode_image(batch, normalize=True))

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as one batch."""
        return _numpy(self._network.encode_text(self._tokenize(list(texts)).to(self._device), normalize=True))

    def encode_images(self, payloads: Sequence[bytes]) -> NDArray[np.float32]:
        """Encode picture files as one batch; raise InputError if one cannot be decoded."""
        images = [decode_image(payload) for payload in payloads]
        for image in images:
            if isinstance(image, Reject):
                raise InputError(f"not a picture that can be searched with: {image.reason.value}: {image.detail}")
        return self.encode([self.prepare(image) for image in images if not isinstance(image, Reject)])

    def label_probabilities(self, vectors: NDArray[np.float32], labels: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the softmax of cosines at the temperature that the model learned: [N, L] (Radford et al. 2021)."""
        logits = (vectors @ labels.T).astype(np.float64) * float(self._network.logit_scale.detach().exp())
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def middle_of_strip(image: Picture) -> Picture:
    """Cut a picture over 32 times longer than wide to its middle, 32 times as long as wide; return others as they are.

    Resizing by the longest side would leave it no pixel of width, by the shortest gigabytes of length.
    """
    width, height = image.size
    long, short = max(width, height), min(width, height)
    cut = max(0, long - MAX_RATIO * short)
    if not cut:
        return image
    first, last = cut // 2, cut // 2 + MAX_RATIO * short
    return image.crop((first, 0, last, height) if width > height else (0, first, width, last))


class SentenceEncoder:
    """A sentence-transformers model: texts to float32 [N, D], L2-normalised; a text beyond its window is cut there."""

    def __init__(self, folder: Path, weights: Weights, device: str) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._network = SentenceTransformer(str(folder), device=device).eval()
        self._tokenizing = threading.Lock()  # the Rust tokenizer refuses to be used by two threads at once
        self.model = weights.name
        self.revision = weights.revision

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as one batch."""
        from sentence_transformers.util import batch_to_device

        with self._tokenizing:
            features = self._network.preprocess(list(texts))
        vectors = self._network(batch_to_device(features, self._network.device))["sentence_embedding"]
        return _numpy(torch.nn.functional.normalize(vectors.float(), dim=1))


def load_clip(weights: Weights, device: str = "cpu") -> ClipEncoder:
    """Load a CLIP model from its local folder, or from the hub's cache; raise ModelUnavailable."""
    found = _found(weights)
    folder = found.path
    assert folder is not None
    if not (folder / "open_clip_config.json").is_file():
        raise ModelUnavailable(
            f"{folder}: not an open_clip model: needs open_clip_config.json (model_cfg, preprocess_cfg) and the weights"
        )
    return ClipEncoder(folder, found, device)


def load_sentences(weights: Weights, device: str = "cpu") -> SentenceEncoder:
    """Load a sentence-transformers model from its local folder, or from the hub's cache; raise ModelUnavailable."""
    found = _found(weights)
    assert found.path is not None
    if not (found.path / "modules.json").is_file():
        raise ModelUnavailable(f"{found.path}: not a sentence-transformers model: needs modules.json")
    return SentenceEncoder(found.path, found, device)


def load_clip_search(config: Config) -> PictureEncoder:
    """Load the configured CLIP model for the hub's search."""
    return load_clip(resolve("clip", config.catalog.models.clip))


def load_text_search(config: Config) -> SearchEncoder:
    """Load the configured text model for the hub's search."""
    return load_sentences(resolve("text", config.catalog.models.text))


def _found(weights: Weights) -> Weights:
    found = hub.locate(weights)
    if found is None:
        raise ModelUnavailable(remedy(weights.task, weights.name))
    return found


def _declared(folder: Path) -> dict[str, str]:
    declared: dict[str, str] = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    return declared


def _numpy(vectors: torch.Tensor) -> NDArray[np.float32]:
    return vectors.float().cpu().numpy()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back open_clip's log: it goes through the root logger, and warns about a folder's only checkpoint."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
