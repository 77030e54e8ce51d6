"""Real models: the tiny CLIP and MiniLM."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights, resolve
from catalog.settings import Config
from multimodal.decode import decode_image
from multimodal.encoders import (
    ClipEncoder,
    SentenceEncoder,
    load_clip,
    load_clip_search,
    load_sentences,
    load_text_search,
    middle_of_strip,
)


def test_vectors_are_normalised_float32(clip: ClipEncoder, sentences: SentenceEncoder, site: Path) -> None:
    image = clip.encode_images([(site / "img" / "frog.png").read_bytes()])
    text = clip.encode_text(["a frog", "青蛙"])
    sentence = sentences.encode_text(["a frog"])
    assert (image.shape, text.shape, sentence.shape) == ((1, 128), (2, 128), (1, 384))
    for vectors in (image, text, sentence):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "name"), [("a frog", "frog.png"), ("a red apple", "red-apple.png"), ("a volcano", "volcano.png")]
)
def test_words_find_the_picture(clip: ClipEncoder, site: Path, words: str, name: str) -> None:
    paths = sorted((site / "img").glob("*.png"))
    pictures = clip.encode_images([path.read_bytes() for path in paths])
    best = np.argmax(clip.encode_text([words]) @ pictures.T)
    assert paths[best].name == name


def test_sentences_of_like_meaning_are_close(sentences: SentenceEncoder) -> None:
    vectors = sentences.encode_text(["The cat sleeps.", "A kitten is napping.", "Interest rates rose again."])
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


def test_the_declared_preprocessing_pads_wide_pictures_with_white(clip: ClipEncoder) -> None:
    wide = clip.prepare(Image.new("RGB", (90, 30), "black"))
    assert wide.shape == (3, 64, 64)
    assert wide[:, 0, 32].min() > wide[:, 32, 32].max()  # above the black band there is white
    assert torch.equal(wide[:, 32, 0], wide[:, 32, 32])  # nothing was cropped away to make it square


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 400_000)])
def test_a_strip_costs_neither_the_batch_nor_much_memory(clip: ClipEncoder, size: tuple[int, int]) -> None:
    assert clip.prepare(Image.new("RGB", size, "red")).shape == (3, 64, 64)
    strip = middle_of_strip(Image.linear_gradient("L").resize(size))
    assert max(strip.size) == 32 * min(strip.size)
    whole = Image.new("RGB", (320, 10))
    assert middle_of_strip(whole) is whole


def test_probabilities_sum_to_one_and_follow_the_cosines(clip: ClipEncoder, site: Path) -> None:
    picture = clip.encode_images([(site / "img" / "panda.png").read_bytes()])
    labels = clip.encode_text(["panda", "rocket", "volcano"])
    odds = clip.label_probabilities(picture, labels)
    assert odds.shape == (1, 3)
    assert odds.sum() == pytest.approx(1)
    assert np.array_equal(np.argsort(odds[0]), np.argsort((picture @ labels.T)[0]))
    assert odds[0, 0] > 0.9


def test_any_open_clip_folder_loads_through_the_same_code(tmp_path: Path) -> None:
    config = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
              "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}  # fmt: skip
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "open_clip_model.safetensors")  # type: ignore[arg-type]
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    encoder = load_clip(resolve("clip", str(tmp_path)))
    assert encoder.encode([encoder.prepare(Image.new("RGB", (50, 20)))]).shape == (1, 16)
    assert encoder.prompt == "a photo of a {}"


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"needs open_clip_config\.json"):
        load_clip(resolve("clip", str(tmp_path)))
    with pytest.raises(ModelUnavailable, match=r"needs modules\.json"):
        load_sentences(resolve("text", str(tmp_path)))


def test_hub_models_that_are_not_here_say_what_to_do() -> None:
    with pytest.raises(ModelUnavailable, match=r"models\.clip"):
        load_clip(Weights("clip", "ViT-B-32/laion2b_s34b_b79k", None, "hub"))


def test_the_hub_searches_with_the_names_that_are_stored(tmp_path: Path, sentences: SentenceEncoder) -> None:
    config = Config({"root": str(tmp_path), "models": "offline"})
    pictures, texts = load_clip_search(config), load_text_search(config)
    assert (pictures.model, texts.model) == ("tiny_clip", "all-MiniLM-L6-v2")
    assert (texts.model, texts.revision) == (sentences.model, sentences.revision)
    with pytest.raises(InputError, match="unsupported_format"):
        pictures.encode_images([b"<svg/>"])


def test_weights_that_were_tampered_with_are_refused(tmp_path: Path, site: Path) -> None:
    shutil.copytree(site.parent / "tiny_clip", tmp_path / "model")
    weights = tmp_path / "model" / "tiny_clip.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(Exception, match=r"incomplete|invalid|IncompleteBuffer|deserializ"):
        load_clip(resolve("clip", str(tmp_path / "model")))


def test_transparency_and_shape_survive_from_file_to_vector(clip: ClipEncoder, site: Path) -> None:
    image = decode_image((site / "img" / "frog.png").read_bytes())
    assert isinstance(image, Image.Image)
    same = clip.encode([clip.prepare(image)])
    np.testing.assert_array_equal(same, clip.encode_images([(site / "img" / "frog.png").read_bytes()]))
