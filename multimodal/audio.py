"""Sound from untrusted bytes: 16 kHz mono samples, or the reason why there are none."""

import io
from itertools import chain

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from catalog.schema import Reason
from multimodal.decode import Reject

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


def decode_audio(payload: bytes, max_seconds: float = 3600.0) -> NDArray[np.float32] | Reject:
    """Return mono float32 samples at 16 kHz in [-1, 1], or a Reject; decode no more than `max_seconds`."""
    if not payload:
        return Reject(Reason.DECODE_ERROR, "the payload is empty")
    demuxer = sniff_container(payload)
    if demuxer is None:
        return Reject(Reason.UNSUPPORTED_FORMAT, f"no known audio container; starts with {payload[:16]!r}")
    try:
        with av.open(
            io.BytesIO(payload), mode="r", format=demuxer, options={"protocol_whitelist": "none"}
        ) as container:
            if not container.streams.audio:
                return Reject(Reason.UNSUPPORTED_FORMAT, f"the {demuxer} container holds no audio stream")
            return _read(container, max_seconds)
    except av.error.FFmpegError as error:
        return Reject(Reason.DECODE_ERROR, f"{demuxer}: {error.strerror}")
    except ValueError as error:
        return Reject(Reason.DECODE_ERROR, f"{demuxer}: {error}")


def _read(container: av.container.InputContainer, max_seconds: float) -> NDArray[np.float32] | Reject:
    too_long = Reject(Reason.TOO_LONG, f"longer than {max_seconds:g} s")
    if container.duration is not None and container.duration / av.time_base > max_seconds:
        return too_long
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # its own mix to mono is louder than either channel
    pieces: list[NDArray[np.float32]] = []
    room = int(max_seconds * SAMPLE_RATE)
    for frame in chain(container.decode(audio=0), [None]):
        for piece in resampler.resample(frame):
            pieces.append(piece.to_ndarray().mean(axis=0, dtype=np.float32))
            room -= len(pieces[-1])
        if room < 0:
            return too_long
    if not pieces:
        return Reject(Reason.DECODE_ERROR, "the stream holds no samples")
    return np.nan_to_num(np.concatenate(pieces), nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
