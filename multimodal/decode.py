"""Pictures from untrusted bytes: a bounded RGB image, or the reason why there is none."""

import io
import struct
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageOps, UnidentifiedImageError

from catalog.schema import Reason
from multimodal.frames import has_more_frames

Picture: TypeAlias = Image.Image

# Pillow tries only these; others (PSD, EPS through Ghostscript, FITS …) are attack surface and rare on the web.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
# What Pillow's readers of those formats raise on damaged data, besides its own classes (which are OSErrors).
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, ZeroDivisionError,
    UserWarning, struct.error, zlib.error,
)  # fmt: skip

# Process-wide, since `catch_warnings` is not safe with threads: what Pillow warns of is a damaged or oversized file.
warnings.simplefilter("error", Image.DecompressionBombWarning)
warnings.filterwarnings("error", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class Reject:
    """Why one record cannot be used."""

    reason: Reason
    detail: str


def decode_image(payload: bytes, max_pixels: int = 40_000_000, max_frames: int = 1_000) -> Picture | Reject:
    """Return the first frame as an upright RGB image on white, or a Reject; allocate nothing above `max_pixels`."""
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)  # Pillow's own limit is not to be the lower
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return _too_many(f"{width} × {height} is above the limit of {max_pixels} pixels")
            if has_more_frames(image, payload, max_frames):
                return Reject(Reason.TOO_MANY_FRAMES, f"it holds more than {max_frames} frames or pages")
            image.load()
            return on_white(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _too_many(str(error))
    except UnidentifiedImageError:
        return _unidentified(payload)
    except BROKEN as error:
        return Reject(Reason.DECODE_ERROR, f"{type(error).__name__}: {error}")


def on_white(image: Picture) -> Picture:
    """Return the image as RGB, transparent parts white (open_clip's preprocessing would make them black)."""
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _to_eight_bits(image: Picture) -> Picture:
    """Scale 16-bit and float grey to 8 bits, which `convert` would clip to white."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    low, high = image.getextrema()
    assert isinstance(low, (int, float)) and isinstance(high, (int, float))
    if low >= 0 and high <= 255:
        return image.convert("L")
    scale = 255 / ((high - low) or 1)
    return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")


def _upright(image: Picture) -> Picture:
    """Turn a photograph as its EXIF orientation says; unreadable EXIF leaves it as it is."""
    with suppress(*BROKEN):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _too_many(detail: str) -> Reject:
    return Reject(Reason.TOO_MANY_PIXELS, detail)


def _unidentified(payload: bytes) -> Reject:
    """Tell a damaged picture of a known format from something that is no picture that we read."""
    head = payload[:512].lstrip()
    if not payload:
        return Reject(Reason.DECODE_ERROR, "the payload is empty")
    if head.startswith(SIGNATURES) or head[8:12] in (b"WEBP", b"avif"):
        return Reject(Reason.DECODE_ERROR, "the header is damaged or truncated")
    if b"<svg" in payload[:4096]:
        return Reject(Reason.UNSUPPORTED_FORMAT, "SVG is a program, not a picture; it is not rendered")
    return Reject(Reason.UNSUPPORTED_FORMAT, f"no {', '.join(FORMATS)}; starts with {payload[:16]!r}")
