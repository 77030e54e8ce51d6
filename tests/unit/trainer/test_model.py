"""Loading, adapting, merging, saving and sampling a language model."""

from pathlib import Path

import pytest
import torch

from catalog.errors import ModelUnavailable
from catalog.models import Weights, resolve
from trainer.model import load_model
from trainer.settings import GenerationArgs, TrainingArgs

PROMPT = "tea leaves are"


def test_a_name_without_weights_says_how_to_get_them() -> None:
    with pytest.raises(ModelUnavailable, match=r"nobody/nothing: no weights here .*set models\.lm to a local path"):
        load_model(Weights("lm", "nobody/nothing", None, "hub"))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelUnavailable, match=r"model\.bin: not a model; set models\.lm to a folder"):
        load_model(resolve("lm", str(tmp_path / "model.bin")))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no weights here"):
        load_model(resolve("lm", str(tmp_path)))


def test_new_adapters_change_nothing_and_merging_trained_ones_keeps_the_outputs(tiny_lm: Path, tmp_path: Path) -> None:
    model = load_model(resolve("lm", str(tiny_lm)))
    tokens = torch.tensor([model.encode(PROMPT)])
    model.model.eval()
    with torch.no_grad():
        base = model.model(tokens).logits
        model.add_adapter(TrainingArgs())
        model.model.eval()
        assert torch.equal(model.model(tokens).logits, base)
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:
                weight += 0.05
        tuned = model.model(tokens).logits
        assert not torch.allclose(tuned, base, atol=1e-3)
        model.merge()
        torch.testing.assert_close(model.model(tokens).logits, tuned, atol=1e-4, rtol=1e-3)
        model.save(tmp_path / "saved")
        again = load_model(resolve("lm", str(tmp_path / "saved")))
        again.model.eval()
        assert torch.equal(again.model(tokens).logits, model.model(tokens).logits)


def test_adapters_are_the_same_for_the_same_seed(tiny_lm: Path) -> None:
    def adapter(seed: int) -> dict[str, torch.Tensor]:
        model = load_model(resolve("lm", str(tiny_lm)))
        model.add_adapter(TrainingArgs(seed=seed))
        return {name: value for name, value in model.model.state_dict().items() if "lora_A" in name}

    first, same, other = adapter(1), adapter(1), adapter(2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_sampling_depends_on_the_seed_alone_and_leaves_the_generator_alone(tiny_lm: Path) -> None:
    model = load_model(resolve("lm", str(tiny_lm)))
    args = GenerationArgs(max_new_tokens=12)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = model.generate(PROMPT, args, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert model.generate(PROMPT, args, seed=1) == first
    assert model.generate(PROMPT, args, seed=2) != first


def test_a_sample_is_no_longer_than_asked_and_greedy_ignores_the_seed(tiny_lm: Path) -> None:
    model = load_model(resolve("lm", str(tiny_lm)))
    greedy = GenerationArgs(max_new_tokens=5, do_sample=False)
    found = model.generate(PROMPT, greedy, seed=1)
    assert len(model.encode(found)) <= 6
    assert model.generate(PROMPT, greedy, seed=2) == found
