"""Pictures become features."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filmstrip import film
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalog.errors import Corrupt
from catalog.schema import Reason
from multimodal.encoders import ClipEncoder
from multimodal.images import NOTHING, Extras, ImageEmbedder
from multimodal.looking import THUMBNAIL_BYTES, pack, shrunk
from multimodal.settings import EmbedSettings


def read_file(row: dict[str, Any], max_bytes: int) -> bytes:
    payload = Path(row["media_id"]).read_bytes()
    if len(payload) > max_bytes:
        raise Corrupt("longer than allowed")
    return payload


@pytest.fixture
def embed(clip: ClipEncoder) -> Callable[..., Any]:
    def run(paths: list[Path], threads: int = 1, extras: Extras = NOTHING, **given: Any) -> Any:
        embedder = ImageEmbedder(clip, EmbedSettings(**given), read_file, threads, extras)
        kinds = {".webm": "video", ".mp4": "video"}
        return embedder([{"media_id": str(path), "kind": kinds.get(path.suffix, "image")} for path in paths])

    return run


def test_a_picture_gets_every_feature(embed: Callable[..., Any], site: Path) -> None:
    (result,) = embed([site / "img" / "frog.png"])
    (features,) = result.features
    with Image.open(site / "img" / "frog.png") as image:
        assert (features["width"], features["height"]) == image.size
    assert features["vector"].shape == (128,)
    assert features["model"] == "tiny_clip"
    assert features["caption"] is None
    assert len(features["phash"]) == 16
    assert features["tags"][0]["label"] == "frog"
    assert [tag["score"] for tag in features["tags"]] == sorted(
        (tag["score"] for tag in features["tags"]), reverse=True
    )
    assert len(features["tags"]) == 5


def test_the_same_drawing_in_another_format_has_nearly_the_same_hash(embed: Callable[..., Any], site: Path) -> None:
    png, webp = embed([site / "img" / "rocket.png", site / "img" / "rocket.webp"])
    distance = (int(png.features[0]["phash"], 16) ^ int(webp.features[0]["phash"], 16)).bit_count()
    assert distance <= 6
    assert png.features[0]["vector"] @ webp.features[0]["vector"] > 0.95


def test_labels_are_a_setting(embed: Callable[..., Any], site: Path) -> None:
    (result,) = embed([site / "img" / "frog.png"], labels=["frog", "train"], num_tags=1)
    assert [tag["label"] for tag in result.features[0]["tags"]] == ["frog"]
    (braced,) = embed([site / "img" / "frog.png"], labels=["frog", "train"], num_tags=1, prompt="{0} {a {} }")
    assert braced.features[0]["tags"][0]["label"] in ("frog", "train")
    (result,) = embed([site / "img" / "frog.png"], labels=[])
    assert result.features[0]["tags"] == []


def test_rows_are_bit_identical_at_any_number_of_threads(embed: Callable[..., Any], site: Path) -> None:
    paths = sorted((site / "img").glob("*.png"))
    one, three = embed(paths, 1, batch_size=5), embed(paths, 3, batch_size=5)
    assert len(one) == len(paths) > 15
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a.features[0]["vector"], b.features[0]["vector"])
        assert a.features[0]["tags"] == b.features[0]["tags"]
        assert a.thumbnail == b.thumbnail


def test_a_broken_picture_costs_only_itself(embed: Callable[..., Any], site: Path, tmp_path: Path) -> None:
    broken, large = tmp_path / "broken.png", tmp_path / "large.png"
    broken.write_bytes((site / "img" / "frog.png").read_bytes()[:200])
    Image.new("RGB", (3000, 3000)).save(large)
    good = site / "img" / "panda.png"
    results = embed([good, broken, large, good], max_pixels=1_000_000)
    reasons = [result.reject and result.reject.reason for result in results]
    assert reasons == [None, Reason.DECODE_ERROR, Reason.TOO_MANY_PIXELS, None]
    assert all((not result.features) == (result.reject is not None) for result in results)
    (result,) = embed([good], max_bytes=10)
    assert result.reject.reason is Reason.MISSING_PAYLOAD


def test_nothing_but_broken_pictures_is_no_error(embed: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    (result,) = embed([tmp_path / "a.png"])
    assert result.reject.reason is Reason.UNSUPPORTED_FORMAT


def test_size_and_score_decide_what_is_wanted(embed: Callable[..., Any], site: Path, tmp_path: Path) -> None:
    dot, strip, film_path = tmp_path / "dot.png", tmp_path / "strip.png", tmp_path / "film.mp4"
    Image.new("RGB", (20, 20), "red").save(dot)
    Image.new("RGB", (900, 30), "red").save(strip)
    film_path.write_bytes(film("mp4", "mpeg4"))
    paths = [site / "img" / "frog.png", dot, strip, film_path]
    extras = Extras(Teller(), lambda vectors: np.arange(len(vectors), dtype=float))  # a place in its batch as the score
    given = {"min_side": 24, "max_aspect": 8, "film_frames": 3, "min_aesthetic": 1, "aesthetic": "f", "patches": True}
    low, small, narrow, whole = embed(paths, extras=extras, **given)
    reasons = [item.reject.reason for item in (low, small, narrow)]
    assert reasons == [Reason.LOW_AESTHETIC, Reason.TOO_SMALL, Reason.TOO_NARROW]
    assert [(round(row["frame_time"]), row["aesthetic"]) for row in whole.features] == [(2, 1), (4, 2)]
    assert {(row["caption"], row["caption_model"]) for row in whole.features} == {("48 × 64", "teller@1")}
    assert [round(row["frame_time"]) for row in whole.patches] == [2, 4]
    assert all(len(row["data"]) == 2 * np.prod(row["shape"]) for row in whole.patches)


class Teller:
    """Tells the size of what a captioner is shown."""

    name = "teller@1"

    def caption(self, pictures: list[np.ndarray]) -> list[str]:
        return [f"{picture.shape[0]} × {picture.shape[1]}" for picture in pictures]


def test_a_reject_does_not_change_a_neighbours_vector(embed: Callable[..., Any], site: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    frog, panda = site / "img" / "frog.png", site / "img" / "panda.png"
    _, beside_reject = embed([tmp_path / "a.png", frog])
    _, beside_panda = embed([panda, frog])
    np.testing.assert_array_equal(beside_reject.features[0]["vector"], beside_panda.features[0]["vector"])


@settings(deadline=None, max_examples=25)
@given(width=st.integers(1, 1500), height=st.integers(1, 900), side=st.sampled_from([64, 256]), seed=st.integers(0, 9))
def test_thumbnails_fit_and_stay_small(width: int, height: int, side: int, seed: int) -> None:
    noisy = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    webp, shown = pack(shrunk(Image.fromarray(noisy), side))
    assert len(webp) <= THUMBNAIL_BYTES
    with Image.open(io.BytesIO(webp)) as image:
        assert (image.format, image.size) == ("WEBP", shown)
    assert max(shown) <= side
