"""Pictures become features: vector, tags, perceptual hash and a thumbnail, or the reason why not."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.errors import Corrupt
from catalog.schema import Reason
from multimodal.chunks import map_chunks
from multimodal.decode import Picture, Reject, decode_image
from multimodal.settings import EmbedSettings

Row: TypeAlias = dict[str, Any]
Vectors: TypeAlias = NDArray[np.float32]
ReadPayload: TypeAlias = Callable[[Row, int], bytes]  # a media row, the most bytes to read
CHUNK = 16  # pictures a model call; part of the result, see multimodal.chunks
THUMBNAIL_BYTES = 10_240


class ImageEncoder(Protocol):
    """What this module needs of a CLIP model."""

    model: str
    revision: str
    prompt: str

    def prepare(self, image: Picture) -> Any:
        """Resize and normalise a picture."""

    def encode(self, prepared: Sequence[Any]) -> Vectors:
        """Encode prepared pictures as one batch."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as one batch."""

    def label_probabilities(self, vectors: Vectors, labels: Vectors) -> NDArray[np.float64]:
        """Turn cosines into probabilities over labels."""


@dataclass(frozen=True)
class ImageResult:
    """One picture's rows, or why it has none."""

    media_id: str
    features: Row | None = None
    thumbnail: Row | None = None
    reject: Reject | None = None


class ImageEmbedder:
    """Embeds media rows with one loaded model; the label vectors are computed once."""

    def __init__(self, encoder: ImageEncoder, settings: EmbedSettings, read_payload: ReadPayload) -> None:
        self._encoder = encoder
        self._settings = settings
        self._read = read_payload
        prompt = settings.prompt or encoder.prompt
        texts = [prompt.format(label) for label in settings.labels]
        self._labels = encoder.encode_text(texts) if texts else None

    def __call__(self, media: Sequence[Row], threads: int) -> list[ImageResult]:
        """Return one result for each media row (media_id and locator), in order."""
        return map_chunks(self._embed, media, CHUNK, threads)

    def _embed(self, media: Sequence[Row]) -> list[ImageResult]:
        looked_at = [self._look(row) for row in media]
        good = [item for item in looked_at if not isinstance(item, Reject)]
        vectors = self._encoder.encode([prepared for prepared, _, _ in good]) if good else np.empty((0, 0), np.float32)
        described = iter(zip(good, vectors, self._tags(vectors), strict=True))
        results = []
        for row, item in zip(media, looked_at, strict=True):
            if isinstance(item, Reject):
                results.append(ImageResult(row["media_id"], reject=item))
                continue
            (_, features, thumbnail), vector, tags = next(described)
            features |= {
                "vector": vector,
                "tags": tags,
                "caption": None,
                "model": self._encoder.model,
                "revision": self._encoder.revision,
            }
            results.append(ImageResult(row["media_id"], features, thumbnail))
        return results

    def _look(self, row: Row) -> tuple[Any, Row, Row] | Reject:
        """Decode one picture and take all that is needed of it, so that the pixels can go."""
        try:
            payload = self._read(row, self._settings.max_bytes)
        except Corrupt as error:
            return Reject(Reason.MISSING_PAYLOAD, str(error))
        image = decode_image(payload, self._settings.max_pixels)
        if isinstance(image, Reject):
            return image
        features = {
            "media_id": row["media_id"],
            "width": image.width,
            "height": image.height,
            "phash": str(imagehash.phash(image)),
        }
        webp, width, height = thumbnail(image, self._settings.thumbnail_side)
        small = {"media_id": row["media_id"], "webp": webp, "width": width, "height": height}
        return self._encoder.prepare(image), features, small

    def _tags(self, vectors: Vectors) -> Iterable[list[Row]]:
        if self._labels is None or not len(vectors):
            return [[] for _ in vectors]
        scores = self._encoder.label_probabilities(vectors, self._labels)
        return [self._best(row) for row in scores]

    def _best(self, scores: NDArray[np.float64]) -> list[Row]:
        order = np.argsort(-scores, kind="stable")[: self._settings.num_tags]
        return [{"label": self._settings.labels[index], "score": float(scores[index])} for index in order]


def thumbnail(image: Picture, side: int) -> tuple[bytes, int, int]:
    """Return a WebP of at most 10 KB that fits into side × side, with its width and height."""
    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    quality = 75
    while True:
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=2)
        if buffer.tell() <= THUMBNAIL_BYTES:
            return buffer.getvalue(), small.width, small.height
        if quality > 35:
            quality -= 20
        else:
            small = small.resize((max(1, small.width * 3 // 4), max(1, small.height * 3 // 4)))
