"""Pictures and films become features: vectors, tags, hash, caption and a thumbnail, or the reason why not."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catalog.errors import Corrupt
from catalog.schema import Reason
from multimodal import tags
from multimodal.chunks import map_chunks
from multimodal.decode import Reject
from multimodal.geometry import Geometry
from multimodal.looking import Looked, Wanted, look
from multimodal.sandbox import Sandbox
from multimodal.settings import EmbedSettings

Row: TypeAlias = dict[str, Any]
Pixels: TypeAlias = NDArray[np.uint8]
Vectors: TypeAlias = NDArray[np.float32]
ReadPayload: TypeAlias = Callable[[Row, int], bytes]  # a media row, the most bytes to read
CANVAS_SIDE = 512  # of what a captioner sees


class ImageEncoder(Protocol):
    """What this module needs of a CLIP model."""

    model: str
    revision: str
    prompt: str
    scale: float
    calibration: tags.Calibration
    geometry: Geometry

    def encode(self, pixels: Pixels) -> Vectors:
        """Encode pictures, [N, H, W, 3], as one batch."""

    def encode_patches(self, pixels: Pixels) -> tuple[Vectors, NDArray[np.float16]]:
        """Encode pictures as one batch, and return their features by place too, [N, P, F]."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as one batch."""


class Captioner(Protocol):
    """What this module needs of an image-to-text model."""

    name: str  # with its revision

    def caption(self, pictures: Sequence[Pixels]) -> list[str]:
        """Describe pictures of any sizes, as one batch."""


@dataclass(frozen=True)
class Extras:
    """What a configuration may add to the CLIP model."""

    captioner: Captioner | None = None
    aesthetic: Callable[[Vectors], NDArray[np.float64]] | None = None


NOTHING = Extras()


@dataclass(frozen=True)
class ImageResult:
    """One medium's rows, or why it has none; a film has several features."""

    media_id: str
    features: list[Row] = field(default_factory=list)
    patches: list[Row] = field(default_factory=list)
    thumbnail: Row | None = None
    reject: Reject | None = None


class ImageEmbedder:
    """Embeds media rows with one loaded model on `threads` threads; the label vectors are computed once.

    As many children decode the next chunks meanwhile.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        settings: EmbedSettings,
        read_payload: ReadPayload,
        threads: int = 1,
        extras: Extras = NOTHING,
    ) -> None:
        self._encoder, self._settings, self._read, self._extras = encoder, settings, read_payload, extras
        self._threads = threads
        self._wanted = Wanted(
            geometry=encoder.geometry,
            max_pixels=settings.max_pixels,
            max_frames=settings.max_frames,
            film_frames=settings.film_frames,
            thumbnail_side=settings.thumbnail_side,
            min_side=settings.min_side,
            max_aspect=settings.max_aspect,
            canvas_side=CANVAS_SIDE if extras.captioner else None,
        )
        self._sandbox = _children(threads, settings.max_seconds)
        self._decoding = ThreadPoolExecutor(threads)
        self._large = threading.Lock()
        self._computing = threading.Semaphore(threads)
        prompt = settings.prompt or encoder.prompt
        texts = [prompt.replace("{}", label) for label in settings.labels]
        self._labels = encoder.encode_text(texts) if texts else None
        own = encoder.calibration
        self._calibration = tags.Calibration(
            own.temperature if settings.tag_temperature is None else settings.tag_temperature,
            own.none if settings.tag_none is None else settings.tag_none,
        )

    def __call__(self, media: Sequence[Row]) -> list[ImageResult]:
        """Return one result for each media row (media_id, kind and locator), in order."""
        found: dict[str, ImageResult] = {}
        # A film's frames are a batch of their own: how many it has changes no other's.
        for kind, size in (("image", self._settings.batch_size), ("video", 1)):
            rows = [row for row in media if row["kind"] == kind]
            # twice the threads: while some chunks are computed, the next are decoded
            for result in map_chunks(self._embed, rows, size, 2 * self._threads):
                found[result.media_id] = result
        return [found[row["media_id"]] for row in media]

    def _embed(self, media: Sequence[Row]) -> list[ImageResult]:
        looked = list(self._decoding.map(self._look, media))
        # What was turned away leaves an empty picture in the batch: others' vectors depend on its size, not on it.
        shots = [shot for item in looked for shot in ([None] if isinstance(item, Reject) else item)]
        if not any(shots):
            return [self._result(row, item, []) for row, item in zip(media, looked, strict=True)]
        with self._computing:
            rows = iter(self._describe(shots))
        return [
            self._result(row, item, [next(rows) for _ in ([None] if isinstance(item, Reject) else item)])
            for row, item in zip(media, looked, strict=True)
        ]

    def _look(self, row: Row) -> list[Looked] | Reject:
        """Decode one medium in a child and take all that is needed of it."""
        try:
            payload = self._read(row, self._settings.max_bytes)
        except Corrupt as error:
            return Reject(Reason.MISSING_PAYLOAD, str(error))
        looked = self._sandbox(payload, row["kind"], self._wanted, False)
        if looked == "large":
            with self._large:
                looked = self._sandbox(payload, row["kind"], self._wanted, True)
        assert not isinstance(looked, str)
        return looked

    def _describe(self, shots: Sequence[Looked | None]) -> list[tuple[Row, Row | None]]:
        """Return what the models say of each picture, and the row of its patches where those are wanted."""
        blank = np.zeros((self._wanted.geometry.height, self._wanted.geometry.width, 3), np.uint8)
        pixels = np.stack([blank if shot is None else shot.pixels for shot in shots])
        patches: NDArray[np.float16] | None = None
        if self._settings.patches:
            vectors, patches = self._encoder.encode_patches(pixels)
        else:
            vectors = self._encoder.encode(pixels)
        captioner, aesthetic = self._extras.captioner, self._extras.aesthetic
        canvases = [blank if shot is None or shot.canvas is None else shot.canvas for shot in shots]
        captions = captioner.caption(canvases) if captioner else [None] * len(shots)
        scores = aesthetic(vectors).tolist() if aesthetic else [None] * len(shots)
        by = {"model": self._encoder.model, "revision": self._encoder.revision}
        rows = [
            {"vector": vector, "tags": labels, "caption": caption, "aesthetic": score, **by}
            | {"caption_model": captioner.name if captioner else None}
            for vector, labels, caption, score in zip(vectors, self._tags(vectors), captions, scores, strict=True)
        ]
        if patches is None:
            return [(row, None) for row in rows]
        return [
            (row, {"data": patch.tobytes(), "shape": list(patch.shape), **by})
            for row, patch in zip(rows, patches, strict=True)
        ]

    def _tags(self, vectors: Vectors) -> list[list[Row]]:
        if self._labels is None:
            return [[] for _ in vectors]
        scores = tags.probabilities(vectors, self._labels, self._encoder.scale, self._calibration)
        return [tags.best(row, self._settings.labels, self._settings.num_tags) for row in scores]

    def _result(self, row: Row, looked: list[Looked] | Reject, said: Sequence[tuple[Row, Row | None]]) -> ImageResult:
        media_id = row["media_id"]
        if isinstance(looked, Reject):
            return ImageResult(media_id, reject=looked)
        least = self._settings.min_aesthetic
        kept = [
            (shot, *rows)
            for shot, rows in zip(looked, said, strict=True)
            if least is None or rows[0]["aesthetic"] >= least
        ]
        if not kept:
            score = max(features["aesthetic"] for features, _ in said)
            detail = f"{score:.4g} is below embed.min_aesthetic {least:g}"
            return ImageResult(media_id, reject=Reject(Reason.LOW_AESTHETIC, detail))
        first = kept[0][0]
        width, height = first.webp_size
        return ImageResult(
            media_id,
            [_sized(media_id, shot) | features for shot, features, _ in kept],
            [{"media_id": media_id, "frame_time": shot.frame_time, **patch} for shot, _, patch in kept if patch],
            {"media_id": media_id, "webp": first.webp, "width": width, "height": height},
        )


@lru_cache(maxsize=2)  # the same children for all runs of a process: they take most of a second to start
def _children(number: int, max_seconds: float) -> Sandbox[[bytes, str, Wanted, bool], list[Looked] | Reject | str]:
    return Sandbox(look, number, max_seconds)


def _sized(media_id: str, shot: Looked) -> Row:
    return {
        "media_id": media_id,
        "width": shot.width,
        "height": shot.height,
        "phash": shot.phash,
        "frame_time": shot.frame_time,
    }
