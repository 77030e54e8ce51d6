"""All that is taken of a picture's pixels, in the child that decodes it: only arrays of the model's size leave it."""

import io
from dataclasses import dataclass

import imagehash
import numpy as np
import scipy.fftpack  # type: ignore[import-untyped]  # noqa: F401 — what imagehash loads at its first hash, when the clock runs
from numpy.typing import NDArray
from PIL import Image

from catalog.schema import Reason
from multimodal.decode import Picture, Reject, decode_image
from multimodal.films import key_frames
from multimodal.geometry import Geometry

THUMBNAIL_BYTES = 10_240
LARGE_PIXELS = 8_000_000  # above, pictures are decoded one at a time: the memory of several would add up


@dataclass(frozen=True)
class Wanted:
    """What is to be taken, and the limits on what is looked at."""

    geometry: Geometry
    max_pixels: int
    max_frames: int
    film_frames: int
    thumbnail_side: int
    min_side: int = 1
    max_aspect: float | None = None
    canvas_side: int | None = None


@dataclass(frozen=True)
class Looked:
    """One picture, or one frame of a film."""

    width: int
    height: int
    phash: str
    webp: bytes
    webp_size: tuple[int, int]
    pixels: NDArray[np.uint8]  # [H, W, 3] as the model wants them
    canvas: NDArray[np.uint8] | None  # [H, W, 3], the whole picture, no side longer than canvas_side
    frame_time: float | None = None


def look(payload: bytes, kind: str, wanted: Wanted, large: bool) -> list[Looked] | Reject | str:
    """Return what is taken of a picture (one) or film (one for each key frame), or why nothing is.

    A picture above LARGE_PIXELS is put off with "large", for the caller to ask again when no other is decoded.
    """
    if kind == "video":
        frames = key_frames(payload, wanted.film_frames, wanted.max_pixels)
        if isinstance(frames, Reject):
            return frames
        return _unfit(frames[0][1], wanted) or [_take(image, wanted, seconds) for seconds, image in frames]
    room = wanted.max_pixels if large else min(wanted.max_pixels, LARGE_PIXELS)
    image = decode_image(payload, room, wanted.max_frames)
    if isinstance(image, Reject):
        put_off = image.reason is Reason.TOO_MANY_PIXELS and room < wanted.max_pixels
        return "large" if put_off else image
    return _unfit(image, wanted) or [_take(image, wanted, None)]


def fit(payload: bytes, geometry: Geometry) -> NDArray[np.uint8] | Reject:
    """Return the pixels of one picture as a model wants them, or why there are none."""
    image = decode_image(payload)
    return image if isinstance(image, Reject) else geometry.fit(image)


def _unfit(image: Picture, wanted: Wanted) -> Reject | None:
    """Say why a picture is not wanted by its size."""
    short, long = sorted(image.size)
    size = f"{image.width} × {image.height}"
    if short < wanted.min_side:
        return Reject(Reason.TOO_SMALL, f"{size} is below embed.min_side {wanted.min_side}")
    if wanted.max_aspect is not None and long / short > wanted.max_aspect:
        return Reject(Reason.TOO_NARROW, f"{size} is above embed.max_aspect {wanted.max_aspect:g}")
    return None


def _take(image: Picture, wanted: Wanted, seconds: float | None) -> Looked:
    small = shrunk(image, wanted.thumbnail_side)
    webp, webp_size = pack(small)
    canvas = np.asarray(shrunk(image, wanted.canvas_side)) if wanted.canvas_side else None
    return Looked(
        width=image.width,
        height=image.height,
        phash=str(imagehash.phash(small)),
        webp=webp,
        webp_size=webp_size,
        pixels=wanted.geometry.fit(image),
        canvas=canvas,
        frame_time=seconds,
    )


def shrunk(image: Picture, side: int) -> Picture:
    """Return the whole picture so that it fits into side × side; a smaller one stays as it is."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def pack(small: Picture) -> tuple[bytes, tuple[int, int]]:
    """Return a WebP of at most 10 KB and its width and height; what does not fit loses quality, then size."""
    quality = 75
    while True:
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=quality, method=2)
        if buffer.tell() <= THUMBNAIL_BYTES:
            return buffer.getvalue(), small.size
        if quality > 35:
            quality -= 20
        else:
            small = small.resize((max(1, small.width * 3 // 4), max(1, small.height * 3 // 4)))
