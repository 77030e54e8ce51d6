"""Key frames of films from untrusted bytes, few and spread over the whole film, or the reason why there are none."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeVar

import av
import av.error

from catalog.schema import Reason
from multimodal.audio import open_container
from multimodal.decode import Picture, Reject

T = TypeVar("T")
# Only demuxers that read the bytes given (see multimodal.audio); what is no film is rarely worth a picture.
DEMUXERS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "mov"), (0, b"\x1a\x45\xdf\xa3", "matroska"), (0, b"OggS", "ogg"), (8, b"AVI ", "avi"),
)  # fmt: skip


def key_frames(payload: bytes, num_frames: int, max_pixels: int) -> list[tuple[float, Picture]] | Reject:
    """Return up to `num_frames` key frames as RGB with their times in seconds, evenly chosen among all there are."""
    demuxer = next((name for at, magic, name in DEMUXERS if payload[at : at + len(magic)] == magic), None)
    if demuxer is None:
        return Reject(Reason.UNSUPPORTED_FORMAT, f"no film that is read here; starts with {payload[:16]!r}")
    try:
        with open_container(payload, demuxer) as container:
            if not container.streams.video:
                return Reject(Reason.UNSUPPORTED_FORMAT, f"the {demuxer} container holds no film")
            return _decode(container, num_frames, max_pixels)
    except (av.error.FFmpegError, ValueError) as error:
        return Reject(Reason.DECODE_ERROR, f"{demuxer}: {getattr(error, 'strerror', None) or error}")


def _decode(
    container: av.container.InputContainer, num_frames: int, max_pixels: int
) -> list[tuple[float, Picture]] | Reject:
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec.width * codec.height > max_pixels:
        detail = f"{codec.width} × {codec.height} is above the limit of {max_pixels} pixels"
        return Reject(Reason.TOO_MANY_PIXELS, detail)
    codec.options = {"max_pixels": str(max_pixels)}  # what its frames say may differ
    codec.thread_type = "NONE"  # a frame comes out when it went in
    # undecoded, they are no larger than the file
    keys = [packet for packet in container.demux(stream) if packet.is_keyframe and packet.size]
    found = []
    for packet in spread(keys, num_frames):
        for frame in [*codec.decode(packet), *codec.decode(None)][:1]:
            found.append((_seconds(packet, stream.time_base), frame.to_image()))  # type: ignore[no-untyped-call]
        codec.flush_buffers()
    return found or Reject(Reason.DECODE_ERROR, "the film holds no key frame that can be decoded")


def _seconds(packet: "av.Packet[Any]", time_base: Fraction | None) -> float:
    base = packet.time_base or time_base or Fraction(1)
    return max(0.0, float((packet.pts if packet.pts is not None else packet.dts or 0) * base))


def spread(items: Sequence[T], number: int) -> list[T]:
    """Choose up to `number` items at even distances, the first among them."""
    chosen = min(number, len(items))
    return [items[index * len(items) // chosen] for index in range(chosen)]
