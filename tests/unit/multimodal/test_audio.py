"""Sound from untrusted bytes."""

import io
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.schema import Reason
from multimodal.audio import SAMPLE_RATE, decode_audio, sniff_container
from multimodal.decode import Reject


def tone(seconds: float, rate: int = 8000) -> np.ndarray:
    return np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate).astype(np.float32) * 0.5


def wav(seconds: float = 1.0, rate: int = 8000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat((tone(seconds, rate) * 32767).astype("<i2"), channels).tobytes())
    return buffer.getvalue()


def encoded(container: str, codec: str, seconds: float = 1.0, rate: int = 48_000) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(seconds, rate)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def reason(payload: bytes, **limits: float) -> Reason:
    result = decode_audio(payload, **limits)
    assert isinstance(result, Reject), len(result)
    assert result.detail
    return result.reason


@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_becomes_sixteen_kilohertz_mono(channels: int) -> None:
    samples = decode_audio(wav(1.5, 8000, channels))
    assert isinstance(samples, np.ndarray)
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert abs(len(samples) / SAMPLE_RATE - 1.5) < 0.01
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) / 1.5 - 440) < 2
    assert abs(np.abs(samples).max() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("mp4", "aac"),
        ("webm", "libopus"),
        ("adts", "aac"),
    ],
)
def test_containers_are_known_by_their_bytes(container: str, codec: str) -> None:
    samples = decode_audio(encoded(container, codec))
    assert isinstance(samples, np.ndarray)
    assert abs(len(samples) / SAMPLE_RATE - 1.0) < 0.1


def test_the_demo_recordings_decode(site: Path) -> None:
    results = {path.name: decode_audio(path.read_bytes()) for path in sorted((site / "audio").iterdir())}
    whole = [name for name, result in results.items() if isinstance(result, np.ndarray)]
    assert len(whole) >= 4, results


def test_too_long_is_noticed_before_and_while_decoding() -> None:
    assert reason(wav(3.0), max_seconds=2.0) is Reason.TOO_LONG
    assert isinstance(decode_audio(wav(2.0), max_seconds=2.01), np.ndarray)
    lying = bytearray(wav(3.0))
    lying[40:44] = (100).to_bytes(4, "little")  # the header promises 100 bytes of samples
    result = decode_audio(bytes(lying), max_seconds=2.0)
    assert isinstance(result, Reject) or len(result) <= 2.0 * SAMPLE_RATE


def test_broken_files_are_decode_errors(site: Path) -> None:
    assert reason(b"") is Reason.DECODE_ERROR
    assert reason(wav()[:30]) is Reason.DECODE_ERROR
    assert reason(b"OggS" + bytes(range(256)) * 4) is Reason.DECODE_ERROR
    assert reason(encoded("flac", "flac")[:60]) is Reason.DECODE_ERROR


@pytest.mark.parametrize(
    "payload",
    [
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<html>",
        b"\x00" * 64,
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1",
    ],
)
def test_playlists_and_other_things_are_never_opened(payload: bytes) -> None:
    assert reason(payload) is Reason.UNSUPPORTED_FORMAT


def test_a_playlist_inside_a_container_signature_opens_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav())
    assert reason(b"ID3" + f"#EXTM3U\nfile://{secret}\n".encode() * 20) is Reason.DECODE_ERROR


def test_a_container_without_sound_is_unsupported() -> None:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode(None))
    assert reason(buffer.getvalue()) is Reason.UNSUPPORTED_FORMAT


def test_layer_bits_tell_mp3_from_adts() -> None:
    assert sniff_container(b"\xff\xfb\x90\x00") == "mp3"
    assert sniff_container(b"\xff\xf1\x50\x80") == "aac"


@given(edits=st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damage_never_escapes(edits: list[tuple[int, int]]) -> None:
    payload = bytearray(OPUS)
    for position, value in edits:
        payload[position % len(payload)] = value
    result = decode_audio(bytes(payload), max_seconds=5.0)
    assert isinstance(result, Reject) or (np.isfinite(result).all() and np.abs(result).max(initial=0.0) <= 1.0)


OPUS = encoded("ogg", "libopus", 0.3)
