"""Real models: the tiny CLIP and MiniLM."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, PreTrainedTokenizerFast

from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights, resolve
from catalog.settings import Config
from multimodal.decode import decode_image
from multimodal.encoders import (
    ClipEncoder,
    PictureSearch,
    SentenceEncoder,
    load_captioner,
    load_clip,
    load_clip_search,
    load_sentences,
    load_text_search,
)
from multimodal.geometry import Geometry, middle_of_strip
from multimodal.tags import Calibration, probabilities


def pixels_of(encoder: ClipEncoder, *images: Image.Image) -> np.ndarray:
    return np.stack([encoder.geometry.fit(image.convert("RGB")) for image in images])


def pictures_of(encoder: ClipEncoder, *paths: Path) -> np.ndarray:
    images = [decode_image(path.read_bytes()) for path in paths]
    return encoder.encode(pixels_of(encoder, *images))  # type: ignore[arg-type]


def test_vectors_are_normalised_float32(clip: ClipEncoder, sentences: SentenceEncoder, site: Path) -> None:
    image = pictures_of(clip, site / "img" / "frog.png")
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
    pictures = pictures_of(clip, *paths)
    best = np.argmax(clip.encode_text([words]) @ pictures.T)
    assert paths[best].name == name


def test_sentences_of_like_meaning_are_close(sentences: SentenceEncoder) -> None:
    vectors = sentences.encode_text(["The cat sleeps.", "A kitten is napping.", "Interest rates rose again."])
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


def test_the_declared_preprocessing_pads_wide_pictures_with_white(clip: ClipEncoder) -> None:
    wide = clip.geometry.fit(Image.new("RGB", (90, 30), "black"))
    assert wide.shape == (64, 64, 3)
    assert wide[0, 32].min() == 255  # above the black band
    assert wide[32].max() == 0  # nothing was cropped away to make it square


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 400_000)])
def test_a_strip_costs_neither_the_batch_nor_much_memory(clip: ClipEncoder, size: tuple[int, int]) -> None:
    assert clip.geometry.fit(Image.new("RGB", size, "red")).shape == (64, 64, 3)
    strip = middle_of_strip(Image.linear_gradient("L").resize(size))
    assert max(strip.size) == 32 * min(strip.size)
    whole = Image.new("RGB", (320, 10))
    assert middle_of_strip(whole) is whole


@given(
    width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 99),
    mode=st.sampled_from(["shortest", "longest", "squash"]), size=st.sampled_from([64, (48, 80), (80, 48)]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
)  # fmt: skip
def test_pixels_are_those_of_open_clips_own_preprocessing(
    width: int, height: int, seed: int, mode: str, size: object, interpolation: str
) -> None:
    given = {"size": size, "resize_mode": mode, "interpolation": interpolation, "fill_color": 200}
    config = PreprocessCfg(**given, mean=(0, 0, 0), std=(1, 1, 1))  # type: ignore[arg-type]
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = middle_of_strip(Image.fromarray(noise))
    theirs = image_transform_v2(config, is_train=False)(image)
    ours = Geometry.from_config(given).fit(image)
    np.testing.assert_array_equal(ours, (theirs * 255).round().byte().permute(1, 2, 0).numpy())


def test_vectors_are_those_of_the_bare_model(clip: ClipEncoder, site: Path) -> None:
    paths = sorted((site / "img").glob("*.png"))[:3]
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{site.parent / 'tiny_clip'}")
    batch = torch.stack([transform(decode_image(path.read_bytes())) for path in paths])
    with torch.inference_mode():
        bare = model.eval().encode_image(batch, normalize=True).numpy()
    np.testing.assert_allclose(pictures_of(clip, *paths), bare, atol=1e-5)  # the layout in memory differs


def test_probabilities_sum_to_one_and_follow_the_cosines(clip: ClipEncoder, site: Path) -> None:
    picture = pictures_of(clip, site / "img" / "panda.png")
    labels = clip.encode_text(["panda", "rocket", "volcano"])
    odds = probabilities(picture, labels, clip.scale, Calibration())
    assert odds.shape == (1, 3)
    assert odds.sum() == pytest.approx(1)
    assert np.array_equal(np.argsort(odds[0]), np.argsort((picture @ labels.T)[0]))
    assert odds[0, 0] > 0.9
    unsure = probabilities(picture, labels, clip.scale, Calibration(temperature=4))
    assert odds[0, 0] > unsure[0, 0] > unsure[0, 1]
    other = probabilities(picture, labels[1:], clip.scale, Calibration(none=0.5))
    assert other.sum() < 0.5  # neither a rocket nor a volcano


def test_any_open_clip_folder_loads_through_the_same_code(tmp_path: Path) -> None:
    config = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
              "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}}  # fmt: skip
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "open_clip_model.safetensors")  # type: ignore[arg-type]
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    encoder = load_clip(resolve("clip", str(tmp_path)))
    pixels = pixels_of(encoder, Image.new("RGB", (50, 20), "red"), Image.linear_gradient("L"))
    vectors = encoder.encode(pixels)
    assert vectors.shape == (2, 16)
    assert encoder.prompt == "a photo of a {}"
    again, patches = encoder.encode_patches(pixels)
    np.testing.assert_array_equal(vectors, again)
    assert (patches.shape, patches.dtype) == ((2, 4, 64), np.float16)
    half = load_clip(resolve("clip", str(tmp_path)), dtype="bfloat16").encode(pixels)
    assert half.dtype == np.float32
    assert 0.99 < (half * vectors).sum(axis=1).min() < 1 - 1e-7


def test_a_resnet_gives_the_map_of_its_last_stage(clip: ClipEncoder, site: Path) -> None:
    image = decode_image((site / "img" / "frog.png").read_bytes())
    vectors, patches = clip.encode_patches(pixels_of(clip, image))  # type: ignore[arg-type]
    np.testing.assert_array_equal(vectors, pictures_of(clip, site / "img" / "frog.png"))
    assert patches.shape == (1, 4, 768)


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


def test_search_sees_a_picture_as_embedding_does(clip: ClipEncoder, site: Path) -> None:
    path = site / "img" / "frog.png"
    np.testing.assert_array_equal(pictures_of(clip, path), PictureSearch(clip).encode_images([path.read_bytes()]))


def test_a_captioner_describes_pictures_of_any_size(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[DEC]", "[SEP]", *["a", "photo", "of", "the", "frog", "cat"]]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", sep_token="[SEP]", bos_token="[DEC]"
    ).save_pretrained(tmp_path)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = size | special | {"vocab_size": len(words), "encoder_hidden_size": 16, "projection_dim": 16}
    torch.manual_seed(5)
    vision = size | {"image_size": 32, "patch_size": 16}
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).save_pretrained(tmp_path)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    weights = resolve("captioner", str(tmp_path))
    captioner = load_captioner(weights, "cpu", 6)
    pictures = [np.full((40 + side, 50, 3), 9 * side, np.uint8) for side in range(3)]
    captions = captioner.caption(pictures)
    assert len(captions) == 3
    assert all(set(caption.split()) <= set(words) and len(caption.split()) <= 7 for caption in captions), captions
    assert captioner.caption(pictures) == captions
    assert captioner.name == f"{weights.name}@{weights.revision}"
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(ModelUnavailable, match="not an image-to-text model"):
        load_captioner(resolve("captioner", str(other)), "cpu", 6)
