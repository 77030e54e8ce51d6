"""The worker of embed: loads the models once, then turns parts into rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from catalog.models import Weights
from catalog.schema import Reason
from catalog.settings import Resources
from multimodal.aesthetics import load_head
from multimodal.decode import Reject
from multimodal.encoders import SentenceEncoder, load_captioner, load_clip, load_sentences
from multimodal.images import Extras, ImageEmbedder
from multimodal.parts import Row, Tables, as_tables, device_name, no_model, num_threads, read_medium, rejected
from multimodal.precision import Dtype
from multimodal.settings import EmbedSettings
from multimodal.texts import embed_texts


@dataclass(frozen=True)
class EmbedModels:
    """The weights that a configuration names, without a path where they are not here, and the numbers of CLIP."""

    clip: Weights
    text: Weights
    captioner: Weights | None = None
    dtype: Dtype = "float32"


class Embedder:
    """Media and documents in (plans.ROWS), features out; without weights, `no_model` rejects that say what to do."""

    def __init__(self, settings: EmbedSettings, models: EmbedModels, warehouse: str, resources: Resources) -> None:
        self._text_weights = models.text
        self._threads = num_threads(resources)
        device = device_name(resources)
        self._sentences: SentenceEncoder | None = None
        self._pictures: ImageEmbedder | Weights = _missing(models) or self._load(settings, models, warehouse, device)
        if models.text.path:
            self._sentences = load_sentences(models.text, device)

    def _load(self, settings: EmbedSettings, models: EmbedModels, warehouse: str, device: str) -> ImageEmbedder:
        clip = load_clip(models.clip, device, models.dtype)
        extras = Extras(
            load_captioner(models.captioner, device, settings.caption_tokens) if models.captioner else None,
            load_head(settings.aesthetic, clip.dimension) if settings.aesthetic else None,
        )
        return ImageEmbedder(clip, settings, partial(read_medium, warehouse), self._threads, extras)

    def __call__(self, part: pa.Table) -> Tables:
        """Embed one part."""
        rows = part.to_pylist()
        media = [row for row in rows if row["kind"] != "document"]
        documents = [row for row in rows if row["kind"] == "document"]
        return as_tables("embed", [self._embed_media(media), self._embed_documents(documents)])

    def _embed_media(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        if isinstance(self._pictures, Weights):
            return {"rejects": [no_model(row, self._pictures) for row in rows]}
        results = self._pictures([row | {"media_id": row["record_id"]} for row in rows])
        return {
            "image_features": [features for item in results for features in item.features],
            "image_patches": [patches for item in results for patches in item.patches],
            "thumbnails": [item.thumbnail for item in results if item.thumbnail],
            "rejects": [rejected(row, item.reject) for row, item in zip(rows, results, strict=True) if item.reject],
        }

    def _embed_documents(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        if self._sentences is None:
            return {"rejects": [no_model(row, self._text_weights) for row in rows]}
        empty = Reject(Reason.EMPTY_TEXT, "nothing to embed")
        full = [row for row in rows if row["text"] and row["text"].strip()]
        documents = [{"document_id": row["record_id"], "text": row["text"]} for row in full]
        return {
            "text_features": embed_texts(documents, self._sentences, self._threads),
            "rejects": [rejected(row, empty) for row in rows if not (row["text"] and row["text"].strip())],
        }


def _missing(models: EmbedModels) -> Weights | None:
    """Return what pictures wait for."""
    wanted = [models.clip, *([models.captioner] if models.captioner else [])]
    return next((weights for weights in wanted if weights.path is None), None)
