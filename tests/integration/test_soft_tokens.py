"""Pictures as soft tokens: patches of a real embed run, found through a fused example, change what a LLaVA predicts."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toyllava import make_llava

from catalog import cli
from catalog import run as running
from catalog.examples import newest
from catalog.home import Home
from catalog.interleaved import Piece, Soft, interleave
from catalog.settings import Config
from trainer.model import load_soft_model
from trainer.soft import AUDIO, IMAGE, encode, soft_loss, without_features

SITE = Path(__file__).parents[2] / "examples" / "site"
PAGE = (
    "<!doctype html><title>{0}</title><p>{1}</p><figure><img src='{2}'><figcaption>{3}</figcaption></figure><p>{4}</p>"
)
TEXT = "Frogs live near clean water, and they can breathe through their skin as well as through their lungs."
MORE = "Pandas eat bamboo for many hours of each day, and they sleep for most of the others under the trees."


@pytest.fixture(scope="module", autouse=True)
def _commands() -> None:
    cli._add_spokes()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two fused pages, each with a picture and its patches."""
    folder = tmp_path_factory.mktemp("soft")
    pages = folder / "pages"
    pages.mkdir()
    for name, picture, first, second in (("frogs", "frog.png", TEXT, MORE), ("pandas", "panda.png", MORE, TEXT)):
        (pages / f"{name}.html").write_text(PAGE.format(name, first, picture, f"One of the {name}.", second))
        shutil.copy(SITE / "img" / picture, pages)
    given = {
        "root": str(folder / "home"), "engine": "local", "data_sources": [str(pages)],
        "models": {"clip": "tiny_clip", "text": "no/such"},  # of which none is needed here
        "stages": ["crawl", "extract", "embed", "dedup", "fuse"], "embed": {"patches": True},
        "fuse": {"template": {"image_token": "<image>"}},
    }  # fmt: skip
    running.run(Config(given))
    return folder / "home"


@pytest.fixture(scope="module")
def pieces(root: Path) -> list[list[Piece]]:
    view = Home.open(Config({"root": str(root)}).catalog).view()
    rows = view.read("examples").to_pylist()
    assert newest(view, rows[0]["url"]) == newest(view, rows[0]["example_id"]) == [rows[0]]
    return list(interleave(view, rows))


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory, pieces: list[list[Piece]]) -> Path:
    (picture,) = (piece for piece in pieces[0] if isinstance(piece, Soft))
    return make_llava(tmp_path_factory.mktemp("llava") / "toy", picture.values.shape[1])


def test_patches_stand_among_the_words_where_the_page_shows_the_picture(pieces: list[list[Piece]]) -> None:
    for example in pieces:
        assert [type(piece) for piece in example] == [str, Soft, str]
        before, picture, after = example
        assert isinstance(picture, Soft)
        assert (picture.table, picture.values.dtype, picture.values.ndim) == (IMAGE, np.float16, 2)
        assert str(before).rstrip().endswith((TEXT, MORE))
        assert "One of the" in str(after)
        assert "<image>" not in f"{before}{after}"


def test_removing_the_picture_from_an_example_changes_the_loss(llava: Path, pieces: list[list[Piece]]) -> None:
    model, tokenizer = load_soft_model(llava)
    examples = [encode(example, tokenizer, {IMAGE: model.config.image_token_id}) for example in pieces]
    text_alone = [without_features(example) for example in examples]
    with torch.no_grad():
        losses = [float(soft_loss(model, given)) for given in (examples, text_alone, examples)]
        grey = [type(one)(one.input_ids, one.labels, ((IMAGE, np.zeros_like(one.features[0][1])),)) for one in examples]
        losses.append(float(soft_loss(model, grey)))
    assert losses[0] == losses[2]
    assert abs(losses[0] - losses[1]) > 1e-4
    assert abs(losses[0] - losses[3]) > 1e-6  # what the picture shows counts, not only that there is one
    assert [label for one in examples for label in one.labels if label >= 0] == [
        token for one in text_alone for token in one.input_ids
    ]


def test_a_batch_has_the_mean_loss_of_its_examples_and_trains_the_projector(
    llava: Path, pieces: list[list[Piece]]
) -> None:
    model, tokenizer = load_soft_model(llava)
    examples = [encode(example, tokenizer, {IMAGE: model.config.image_token_id}, 90) for example in pieces]
    assert all(len(example.input_ids) == 90 for example in examples)
    with torch.no_grad():
        alone = [float(soft_loss(model, [example])) for example in examples]
        sizes = [sum(label >= 0 for label in example.labels[1:]) for example in examples]
        together = float(soft_loss(model, examples))
    assert together == pytest.approx(np.average(alone, weights=sizes), rel=1e-5)
    projector = list(model.model.multi_modal_projector.parameters())
    optimizer = torch.optim.AdamW(projector, lr=1e-2)
    losses = []
    for _ in range(8):
        loss = soft_loss(model, examples)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_states_of_a_recording_go_through_a_projector_that_is_given(llava: Path, pieces: list[list[Piece]]) -> None:
    model, tokenizer = load_soft_model(llava)
    tokens = {IMAGE: model.config.image_token_id, AUDIO: tokenizer.convert_tokens_to_ids("<audio>")}
    sound = Soft(AUDIO, "m", np.random.default_rng(0).normal(scale=5, size=(6, 16)).astype(np.float16))
    example = encode([*pieces[0][:2], sound, *pieces[0][2:]], tokenizer, tokens)
    torch.manual_seed(0)
    projector: Any = torch.nn.Linear(16, 48)
    loss = soft_loss(model, [example], projector)
    loss.backward()
    assert projector.weight.grad.abs().sum() > 0
    silent = encode(pieces[0], tokenizer, tokens)
    assert abs(float(loss.detach()) - float(soft_loss(model, [silent], projector).detach())) > 1e-4


def test_the_commands_show_features_and_what_they_are_worth(
    root: Path, llava: Path, tmp_path: Path, pieces: list[list[Piece]], capsys: pytest.CaptureFixture[str]
) -> None:
    def headrace(*words: str) -> Any:
        cli.app([*words, "--root", str(root), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    url = (root.parent / "pages" / "frogs.html").as_uri()
    file = tmp_path / "frogs.npz"
    shown = headrace("examples", "show", url, "--features", str(file))
    (example,) = shown["examples"]
    kinds = [[name for name in piece if name != "media_id"] for piece in example["pieces"]]
    assert kinds == [["text"], ["array", "table"], ["text"]]
    with np.load(file) as arrays:
        saved = arrays[example["pieces"][1]["array"]]
    assert any(np.array_equal(saved, piece.values) for one in pieces for piece in one if isinstance(piece, Soft))
    assert all(segment["model"] for segment in example["segments"] if segment["kind"] == "image")
    told = headrace("models", "ablate", str(llava))
    assert told["tokens"] > 0
    assert told["loss"] != told["loss_without"]
    assert told["loss"] != told["loss_with_others"] or told["examples"] == 1
