"""Key frames of films."""

import pytest
from filmstrip import film

from catalog.schema import Reason
from multimodal.audio import decode_audio
from multimodal.decode import Reject
from multimodal.films import key_frames, spread
from multimodal.geometry import Geometry
from multimodal.looking import Looked, Wanted, look


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
    looked = look(payload, "video", wanted, False)
    assert isinstance(looked, list)
    assert [(type(shot), round(shot.frame_time or 0)) for shot in looked] == [(Looked, 0), (Looked, 3)]
    assert all(shot.pixels.shape == (32, 32, 3) for shot in looked)
    small = look(payload, "video", Wanted(Geometry(32, 32), 40_000_000, 1_000, 2, 64, min_side=60), False)
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
