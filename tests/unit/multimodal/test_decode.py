"""Pictures from untrusted bytes."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from catalog.schema import Reason
from multimodal.decode import Reject, decode_image, on_white

Encode = Callable[..., bytes]


def picture(width: int = 40, height: int = 30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reason(payload: bytes, **limits: int) -> Reason:
    result = decode_image(payload, **limits)
    assert isinstance(result, Reject), result
    assert result.detail
    return result.reason


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_formats_of_the_list_become_rgb(name: str, encode_image: Encode) -> None:
    image = decode_image(encode_image(picture(), name))
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_becomes_white(mode: str, encode_image: Encode) -> None:
    image = decode_image(encode_image(Image.new(mode, (4, 4))))
    assert isinstance(image, Image.Image)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_black_becomes_grey(encode_image: Encode) -> None:
    image = decode_image(encode_image(Image.new("RGBA", (1, 1), (0, 0, 0, 128))))
    assert isinstance(image, Image.Image)
    assert image.getpixel((0, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_becomes_white(encode_image: Encode) -> None:
    palette = Image.new("P", (2, 2), 3)
    palette.putpalette([9] * 768)
    image = decode_image(encode_image(palette, "GIF", transparency=3))
    assert isinstance(image, Image.Image)
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_keeps_its_shades(encode_image: Encode) -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    image = decode_image(encode_image(grey))
    assert isinstance(image, Image.Image)
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]  # type: ignore[index]


def test_float_grey_is_scaled_when_it_leaves_the_byte_range() -> None:
    image = on_white(Image.fromarray(np.array([[-1.0, 0.0, 1.0]], dtype=np.float32)))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]  # type: ignore[index]


def test_an_animation_gives_its_first_frame(encode_image: Encode) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    image = decode_image(encode_image(first, "GIF", save_all=True, append_images=[second]))
    assert isinstance(image, Image.Image)
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_a_photograph_is_turned_upright(encode_image: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encode_image(picture(40, 30), "JPEG", exif=exif))
    assert isinstance(image, Image.Image)
    assert image.size == (30, 40)


def test_unreadable_exif_does_not_cost_the_picture(encode_image: Encode) -> None:
    image = decode_image(encode_image(picture(), "JPEG", exif=b"Exif\0\0" + b"garbage" * 9))
    assert isinstance(image, Image.Image)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_a_truncated_file_is_a_decode_error(name: str, encode_image: Encode) -> None:
    payload = encode_image(picture(), name)
    assert reason(payload[: len(payload) // 2]) is Reason.DECODE_ERROR


def test_a_damaged_header_is_a_decode_error() -> None:
    assert reason(b"\x89PNG\r\n\x1a\n") is Reason.DECODE_ERROR
    assert reason(b"") is Reason.DECODE_ERROR


@pytest.mark.parametrize(
    "payload",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?>\n<svg/>",
        b"<!DOCTYPE html>",
        b"%!PS-Adobe-3.0 EPSF",
    ],
)
def test_what_is_no_picture_is_unsupported(payload: bytes) -> None:
    assert reason(payload) is Reason.UNSUPPORTED_FORMAT


def test_a_picture_above_the_limit_is_not_decoded(encode_image: Encode) -> None:
    payload = encode_image(picture(40, 30))
    assert reason(payload, max_pixels=1199) is Reason.TOO_MANY_PIXELS
    assert isinstance(decode_image(payload, max_pixels=1200), Image.Image)


@pytest.mark.parametrize("side", [10_000, 13_000, 60_000])
def test_a_bomb_costs_nothing(side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    payload = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    assert reason(payload) is Reason.TOO_MANY_PIXELS


SEEDS = [picture(24, 16), Image.new("RGBA", (9, 9), (1, 2, 3, 4)), Image.new("P", (5, 5))]


@given(
    seed=st.integers(0, 2),
    name=st.sampled_from(["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG"]),
    edits=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_damage_never_escapes(seed: int, name: str, edits: list[tuple[int, int]]) -> None:
    buffer = io.BytesIO()
    image = SEEDS[seed]
    (image.convert("RGB") if name == "JPEG" else image).save(buffer, name)
    payload = bytearray(buffer.getvalue())
    for position, value in edits:
        payload[position % len(payload)] = value
    result = decode_image(bytes(payload), max_pixels=1_000_000)
    assert isinstance(result, Reject) or result.mode == "RGB"


@given(st.binary(max_size=400))
def test_any_bytes_give_a_picture_or_a_reason(payload: bytes) -> None:
    result = decode_image(payload)
    assert isinstance(result, Reject) or result.mode == "RGB"


def test_a_limit_above_pillows_own_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20)).save(buffer, "PNG")
    assert not isinstance(decode_image(buffer.getvalue(), max_pixels=400), Reject)
    refused = decode_image(buffer.getvalue(), max_pixels=399)
    assert isinstance(refused, Reject) and refused.reason is Reason.TOO_MANY_PIXELS
