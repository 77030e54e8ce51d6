"""The worker of embed: loads the models once, then turns parts into rows."""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from catalog.models import Weights
from catalog.schema import Reason
from catalog.settings import Resources
from multimodal.decode import Reject
from multimodal.encoders import SentenceEncoder, load_clip, load_sentences
from multimodal.images import ImageEmbedder
from multimodal.parts import Row, Tables, as_tables, device_name, no_model, num_threads, read_medium, rejected
from multimodal.settings import EmbedSettings
from multimodal.texts import embed_texts


class Embedder:
    """Pictures and documents in (plans.ROWS), features out; without weights, `no_model` rejects that say what to do."""

    def __init__(
        self, settings: EmbedSettings, weights: tuple[Weights, Weights], warehouse: str, resources: Resources
    ) -> None:
        self._clip_weights, self._text_weights = weights
        self._threads = num_threads(resources)
        device = device_name(resources)
        self._pictures: ImageEmbedder | None = None
        self._sentences: SentenceEncoder | None = None
        if self._clip_weights.path:
            self._pictures = ImageEmbedder(
                load_clip(self._clip_weights, device), settings, partial(read_medium, warehouse)
            )
        if self._text_weights.path:
            self._sentences = load_sentences(self._text_weights, device)

    def __call__(self, part: pa.Table) -> Tables:
        """Embed one part."""
        rows = part.to_pylist()
        pictures = [row for row in rows if row["kind"] == "image"]
        documents = [row for row in rows if row["kind"] == "document"]
        return as_tables("embed", [self._embed_pictures(pictures), self._embed_documents(documents)])

    def _embed_pictures(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        if self._pictures is None:
            return {"rejects": [no_model(row, self._clip_weights) for row in rows]}
        media = [row | {"media_id": row["record_id"]} for row in rows]
        results = list(zip(rows, self._pictures(media, self._threads), strict=True))
        return {
            "image_features": [item.features for _, item in results if item.features],
            "thumbnails": [item.thumbnail for _, item in results if item.thumbnail],
            "rejects": [rejected(row, item.reject) for row, item in results if item.reject],
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
