"""Sound from untrusted bytes: 16 kHz mono samples, or the reason why there are none."""

import io
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from catalog.schema import Reason
from multimodal.decode import Reject
from multimodal.sandbox import Sandbox

Samples: TypeAlias = NDArray[np.float32]
SAMPLE_RATE = 16_000
# Only demuxers that read the bytes given: playlists (HLS, concat, DASH …) would open other files and addresses.
DEMUXERS: tuple[tuple[int, bytes, str], ...] = (
    (8, b"WAVE", "wav"), (0, b"OggS", "ogg"), (0, b"fLaC", "flac"), (4, b"ftyp", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AIFF", "aiff"), (8, b"AIFC", "aiff"), (0, b".snd", "au"), (0, b"#!AMR", "amr"), (0, b"ID3", "mp3"),
)  # fmt: skip


def sniff_container(payload: bytes) -> str | None:
    """Name the FFmpeg demuxer for these bytes by their signature, or None if they are no audio that we read."""
    for offset, signature, demuxer in DEMUXERS:
        if payload[offset : offset + len(signature)] == signature:
            return demuxer
    if len(payload) > 1 and payload[0] == 0xFF and payload[1] & 0xE0 == 0xE0:
        return "aac" if payload[1] & 0x06 == 0 else "mp3"  # the layer bits are zero in ADTS alone
    return None


def decode_audio(payload: bytes, max_seconds: float = 3600.0) -> Samples | Reject:
    """Return mono float32 samples at 16 kHz in [-1, 1], or a Reject; decode no more than `max_seconds`."""
    pieces: list[Samples] = []
    reject = _decode(payload, max_seconds, pieces.append)
    return reject if reject is not None else np.concatenate(pieces)


class AudioDecoder:
    """`decode_audio` in children that are killed after `limit` seconds; safe to call from `size` threads at once."""

    def __init__(self, size: int, max_seconds: float, limit: float) -> None:
        self._max_seconds = max_seconds
        self._sandbox = Sandbox(_decode_into, size, limit)

    def __call__(self, payload: bytes) -> Samples | Reject:
        with tempfile.TemporaryDirectory(prefix="headrace-audio-") as folder:  # an hour is 230 MB, too much for a pipe
            path = Path(folder) / "samples.f32"
            reject = self._sandbox(payload, self._max_seconds, str(path))
            return reject if reject is not None else np.fromfile(path, np.float32)


def _decode_into(payload: bytes, max_seconds: float, path: str) -> Reject | None:
    with Path(path).open("wb") as file:
        return _decode(payload, max_seconds, lambda piece: file.write(piece.tobytes()))


def _decode(payload: bytes, max_seconds: float, keep: Callable[[Samples], object]) -> Reject | None:
    """Hand the samples piece by piece to `keep`; return why they are of no use where they are not."""
    if not payload:
        return Reject(Reason.DECODE_ERROR, "the payload is empty")
    demuxer = sniff_container(payload)
    if demuxer is None:
        return Reject(Reason.UNSUPPORTED_FORMAT, f"no known audio container; starts with {payload[:16]!r}")
    try:
        with open_container(payload, demuxer) as container:
            if not container.streams.audio:
                return Reject(Reason.UNSUPPORTED_FORMAT, f"the {demuxer} container holds no audio stream")
            return _read(container, max_seconds, keep)
    except (av.error.FFmpegError, ValueError) as error:
        return Reject(Reason.DECODE_ERROR, f"{demuxer}: {getattr(error, 'strerror', None) or error}")


def open_container(payload: bytes, demuxer: str) -> av.container.InputContainer:
    """Open bytes with one demuxer, which can open nothing else; raise FFmpegError or ValueError."""
    options = {"protocol_whitelist": "none"}
    return av.open(io.BytesIO(payload), mode="r", format=demuxer, options=options)


def _read(
    container: av.container.InputContainer, max_seconds: float, keep: Callable[[Samples], object]
) -> Reject | None:
    too_long = Reject(Reason.TOO_LONG, f"longer than {max_seconds:g} s")
    if container.duration is not None and container.duration / av.time_base > max_seconds:
        return too_long
    room = int(max_seconds * SAMPLE_RATE)
    empty = True
    for piece in _resampled(container):
        room -= len(piece)
        if room < 0:
            return too_long
        keep(piece)
        empty = False
    return Reject(Reason.DECODE_ERROR, "the stream holds no samples") if empty else None


def _resampled(container: av.container.InputContainer) -> Iterator[Samples]:
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # its own mix to mono is louder than either channel
    for frame in chain(container.decode(audio=0), [None]):
        for piece in resampler.resample(frame):
            mono = piece.to_ndarray().mean(axis=0, dtype=np.float32)
            yield np.nan_to_num(mono, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
