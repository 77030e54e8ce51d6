"""Key frames of films."""

import io

import av
import numpy as np
import pytest

from catalog.schema import Reason
from multimodal.audio import decode_audio
from multimodal.decode import Reject
from multimodal.films import key_frames, spread
from multimodal.geometry import Geometry
from multimodal.looking import Looked, Wanted, look


def film(container: str, codec: str, seconds: int = 6, sound: bool = False) -> bytes:
    """Ten frames a second, a key frame each second; every second has its own shade of grey."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=10, options={"g": "10", "keyint_min": "10"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 10
        voice = output.add_stream("libopus", rate=48_000, layout="mono") if sound else None
        for number in range(10 * seconds):
            grey = np.full((48, 64, 3), 20 + 30 * (number // 10), np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        output.mux(stream.encode(None))
        if voice is not None:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="flt", layout="mono")
            frame.sample_rate = 48_000
            output.mux([*voice.encode(frame), *voice.encode(None)])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "mpeg4"), ("mp4", "libx264"), ("webm", "libvpx"), ("matroska", "libvpx-vp9")]
)
def test_key_frames_are_spread_over_the_film(container: str, codec: str) -> None:
    frames = key_frames(film(container, codec), 3, 40_000_000)
    assert isinstance(frames, list)
    assert [round(seconds) for seconds, _ in frames] == [0, 2, 4]
    for seconds, image in frames:
        assert (image.mode, image.size) == ("RGB", (64, 48))
        grey = image.getpixel((30, 20))
        assert isinstance(grey, tuple)
        assert abs(grey[0] - (20 + 30 * round(seconds))) < 12


def test_a_film_is_looked_at_frame_by_frame() -> None:
    payload = film("mp4", "mpeg4", sound=True)
    wanted = Wanted(Geometry(32, 32), 40_000_000, 1_000, film_frames=2, thumbnail_side=64)
    looked = look(payload, "video", wanted)
    assert isinstance(looked, list)
    assert [(type(shot), round(shot.frame_time or 0)) for shot in looked] == [(Looked, 0), (Looked, 3)]
    assert all(shot.pixels.shape == (32, 32, 3) for shot in looked)
    small = look(payload, "video", Wanted(Geometry(32, 32), 40_000_000, 1_000, 2, 64, min_side=60))
    assert isinstance(small, Reject)
    assert small.reason is Reason.TOO_SMALL
    assert not isinstance(decode_audio(payload), Reject)  # its sound is a recording


def test_what_is_no_film_says_why() -> None:
    large = key_frames(film("mp4", "mpeg4", 1), 1, 100)
    silent = decode_audio(film("webm", "libvpx", 1))
    results = {large: Reason.TOO_MANY_PIXELS, silent: Reason.UNSUPPORTED_FORMAT}  # type: ignore[dict-item]
    results |= {key_frames(b"GIF89a", 1, 100): Reason.UNSUPPORTED_FORMAT}  # type: ignore[dict-item]
    results |= {key_frames(film("mp4", "mpeg4", 1)[:900], 1, 10_000): Reason.DECODE_ERROR}  # type: ignore[dict-item]
    for result, reason in results.items():
        assert isinstance(result, Reject)
        assert result.reason is reason


def test_few_are_all_and_many_are_evenly_far_apart() -> None:
    assert spread([1, 2, 3], 8) == [1, 2, 3]
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
    assert spread([], 4) == []
