"""The models that turn pictures and texts into vectors."""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from catalog.encoders import PictureEncoder
from catalog.encoders import TextEncoder as SearchEncoder
from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights, remedy, resolve
from catalog.settings import Config
from multimodal import hub
from multimodal.decode import Reject
from multimodal.geometry import Geometry
from multimodal.looking import fit
from multimodal.precision import Dtype
from multimodal.sandbox import Sandbox
from multimodal.tags import Calibration

Pixels: TypeAlias = NDArray[np.uint8]
DEFAULT_PROMPT = "a photo of a {}"


class ClipEncoder:
    """An open_clip model: pictures and texts to float32 [N, D], L2-normalised. Safe to call from many threads."""

    def __init__(self, folder: Path, weights: Weights, device: str, dtype: Dtype = "float32") -> None:
        import open_clip

        source = f"local-dir:{folder}"
        precision = "fp32" if dtype == "float32" else "bf16"
        with _quiet():
            model = open_clip.create_model(source, device=device, precision=precision)
            self._tokenize = open_clip.get_tokenizer(source)
        self._network = model.eval()
        self._network.visual.to(memory_format=torch.channels_last)  # convolutions are a quarter faster so
        if device == "cuda":
            self._network.visual.compile()
        self._device, self._dtype = device, getattr(torch, dtype)
        config = model.visual.preprocess_cfg
        self.geometry = Geometry.from_config(config)
        self._mean, self._std = (torch.tensor(config[name], device=device).view(3, 1, 1) for name in ("mean", "std"))
        self.model = weights.name
        self.revision = weights.revision
        declared = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        self.prompt: str = declared.get("prompt", DEFAULT_PROMPT)
        self.calibration = Calibration(**declared.get("calibration", {}))
        self.scale = float(model.logit_scale.detach().exp())
        self.dimension = self.encode_text([""]).shape[1]

    @torch.inference_mode()
    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        """Encode pictures, uint8 [N, H, W, 3] in the model's geometry, as one batch."""
        return _unit(self._network.encode_image(self._scaled(pixels)))

    @torch.inference_mode()
    def encode_patches(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
        """Return the same vectors and each picture's features by place before pooling, [N, P, F], row by row.

        A vision transformer has its normalised last tokens, a ResNet the map of its last stage.
        """
        found = self._network.visual.forward_intermediates(
            self._scaled(pixels), indices=1, normalize_intermediates=True
        )
        places = found["image_intermediates"][-1].flatten(2).transpose(1, 2)
        return _unit(found["image_features"]), places.half().cpu().numpy()

    def _scaled(self, pixels: Pixels) -> torch.Tensor:
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # so it is channels_last already
        return batch.float().div_(255).sub_(self._mean).div_(self._std).to(self._dtype)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as one batch."""
        return _unit(self._network.encode_text(self._tokenize(list(texts)).to(self._device)))


class PictureSearch:
    """What the hub searches pictures with: a CLIP model, and children that decode the pictures it is asked about."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self._encoder = encoder
        self.model = encoder.model
        self.revision = encoder.revision
        self._fit = Sandbox(fit, 1, max_seconds=30)

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as one batch."""
        return self._encoder.encode_text(texts)

    def encode_images(self, payloads: Sequence[bytes]) -> NDArray[np.float32]:
        """Encode picture files as one batch; raise InputError if one cannot be decoded."""
        fitted = []
        for payload in payloads:
            image = self._fit(payload, self._encoder.geometry)
            if isinstance(image, Reject):
                raise InputError(f"not a picture that can be searched with: {image.reason.value}: {image.detail}")
            fitted.append(image)
        return self._encoder.encode(np.stack(fitted))


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
        return _unit(vectors)


class Captioner:
    """An image-to-text model of transformers: pictures to one sentence each. Safe to call from many threads."""

    def __init__(self, folder: Path, weights: Weights, device: str, num_tokens: int) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        network: Any = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
        self._network = network.to(device).eval()
        self._prepare: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._device, self._num_tokens = device, num_tokens
        self.name = f"{weights.name}@{weights.revision}"

    @torch.inference_mode()
    def caption(self, pictures: Sequence[Pixels]) -> list[str]:
        """Describe RGB pictures of any sizes, uint8 [H, W, 3], as one batch, by greedy search."""
        images = [Image.fromarray(picture) for picture in pictures]
        pixels = self._prepare(images=images, return_tensors="pt")["pixel_values"].to(self._device)
        written = self._network.generate(
            pixel_values=pixels, do_sample=False, num_beams=1, max_new_tokens=self._num_tokens
        )
        return [text.strip() for text in self._tokenizer.batch_decode(written, skip_special_tokens=True)]


def load_clip(weights: Weights, device: str = "cpu", dtype: Dtype = "float32") -> ClipEncoder:
    """Load a CLIP model from its local folder, or from the hub's cache; raise ModelUnavailable."""
    found = _found(weights)
    folder = found.path
    assert folder is not None
    if not (folder / "open_clip_config.json").is_file():
        raise ModelUnavailable(
            f"{folder}: not an open_clip model: needs open_clip_config.json (model_cfg, preprocess_cfg) and the weights"
        )
    return ClipEncoder(folder, found, device, dtype)


def load_sentences(weights: Weights, device: str = "cpu") -> SentenceEncoder:
    """Load a sentence-transformers model from its local folder, or from the hub's cache; raise ModelUnavailable."""
    found = _found(weights)
    assert found.path is not None
    if not (found.path / "modules.json").is_file():
        raise ModelUnavailable(f"{found.path}: not a sentence-transformers model: needs modules.json")
    return SentenceEncoder(found.path, found, device)


def load_captioner(weights: Weights, device: str, num_tokens: int) -> Captioner:
    """Load an image-to-text model from its local folder, or from the hub's cache; raise ModelUnavailable."""
    found = _found(weights)
    assert found.path is not None
    try:
        return Captioner(found.path, found, device, num_tokens)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelUnavailable(f"{found.path}: not an image-to-text model of transformers: {reason}") from error


def load_clip_search(config: Config) -> PictureEncoder:
    """Load the configured CLIP model for the hub's search."""
    return PictureSearch(load_clip(resolve("clip", config.catalog.models.clip)))


def load_text_search(config: Config) -> SearchEncoder:
    """Load the configured text model for the hub's search."""
    return load_sentences(resolve("text", config.catalog.models.text))


def _found(weights: Weights) -> Weights:
    found = hub.locate(weights)
    if found is None:
        raise ModelUnavailable(remedy(weights.task, weights.name))
    return found


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    """Normalise in float32: bfloat16's own norms are a thousandth off."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back open_clip's log: it goes through the root logger, and warns about a folder's only checkpoint."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
