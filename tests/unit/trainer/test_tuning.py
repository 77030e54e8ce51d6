"""Tuning does what its settings say, and a run that was cut short ends with the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toytrain import write_text

from catalog.models import resolve
from trainer.model import LanguageModel, load_model
from trainer.packing import PackedDataset
from trainer.settings import TrainingArgs
from trainer.tuning import WHOLE, Data, Tuned, blocks_seen, newest_checkpoint, num_steps, tune

QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_train_epochs": 1, "dropout": 0.1,
    "learning_rate": 1e-2, "max_length": 32, "early_stopping": False,
}  # fmt: skip


def args_of(**given: object) -> TrainingArgs:
    return TrainingArgs.parse(QUICK | given, "test")


def packed(model: LanguageModel, subject: str, count: int, epochs: int = 1) -> PackedDataset:
    tokens = {str(k): [*model.encode(write_text(subject, k)), model.end] for k in range(count)}
    return PackedDataset([sorted(tokens)] * epochs, tokens, 32)


def run(
    tiny_lm: Path,
    folder: Path,
    args: TrainingArgs,
    num_documents: int = 6,
    advance: Callable[[], object] = lambda: None,
) -> tuple[Tuned, dict[str, torch.Tensor]]:
    model = load_model(resolve("lm", str(tiny_lm)))
    model.add_adapter(args)
    data = Data(packed(model, "tea", num_documents), packed(model, "stone", 2))
    tuned = tune(model, data, args, folder, 1, advance)
    return tuned, {name: value.clone() for name, value in model.model.state_dict().items()}


def rates(tuned: Tuned) -> list[float]:
    return [entry["learning_rate"] for entry in tuned.history if "learning_rate" in entry]


def test_the_loss_falls_and_every_planned_step_is_taken(tiny_lm: Path, tmp_path: Path) -> None:
    tuned, _ = run(tiny_lm, tmp_path, args_of(), num_documents=16)
    losses = [entry["loss"] for entry in tuned.history if "loss" in entry]
    assert sum(losses[-4:]) < sum(losses[:4]) - 4 * 0.1
    assert tuned.steps == tuned.planned_steps == len(losses)
    assert not tuned.stopped_early


def test_only_the_adapters_learn(tiny_lm: Path, tmp_path: Path) -> None:
    model = load_model(resolve("lm", str(tiny_lm)))
    base = {name: value.clone() for name, value in model.model.state_dict().items()}
    _, tuned = run(tiny_lm, tmp_path, args_of(max_steps=2))
    found = {name.removeprefix("base_model.model.").replace(".base_layer", ""): value for name, value in tuned.items()}
    assert all(torch.equal(found[name], value) for name, value in base.items())
    assert any(value.abs().sum() > 0 for name, value in found.items() if "lora_B" in name)


def test_max_steps_caps_the_run_and_the_rows_that_count_as_trained(tiny_lm: Path, tmp_path: Path) -> None:
    args = args_of(max_steps=2)
    tuned, _ = run(tiny_lm, tmp_path, args)
    assert tuned.steps == tuned.kept_steps == tuned.planned_steps == 2
    assert blocks_seen(tuned, args) == 4


def test_accumulation_divides_the_number_of_steps(tiny_lm: Path) -> None:
    data = packed(load_model(resolve("lm", str(tiny_lm))), "tea", 6)
    batches = -(-len(data) // 2)
    assert num_steps(data, args_of()) == batches
    assert num_steps(data, args_of(gradient_accumulation_steps=4)) == -(-batches // 4)


def test_the_learning_rate_warms_up_and_decays_as_asked(tiny_lm: Path, tmp_path: Path) -> None:
    linear, _ = run(tiny_lm, tmp_path / "linear", args_of(warmup_steps=2, max_steps=6))
    assert rates(linear) == pytest.approx([0, 5e-3, 1e-2, 7.5e-3, 5e-3, 2.5e-3])
    cosine, _ = run(tiny_lm, tmp_path / "cosine", args_of(lr_scheduler_type="cosine", max_steps=4))
    assert rates(cosine) == pytest.approx([1e-2, 8.5355e-3, 5e-3, 1.4645e-3], rel=1e-3)


def test_a_flat_metric_stops_the_run_when_patience_is_out(tiny_lm: Path, tmp_path: Path) -> None:
    """No gain can exceed the threshold, so the first evaluation stays the best and the 5th after it stops the run."""
    args = args_of(early_stopping=True, early_stopping_threshold=100.0, eval_steps=1, early_stopping_patience=5)
    tuned, _ = run(tiny_lm, tmp_path, args, num_documents=12)
    assert tuned.steps == 6
    assert tuned.stopped_early
    assert sum("eval_loss" in entry for entry in tuned.history) == 6


def test_rows_count_as_trained_only_up_to_the_checkpoint_whose_weights_are_kept(tiny_lm: Path, tmp_path: Path) -> None:
    args = args_of(early_stopping=True, eval_steps=1, early_stopping_patience=3, learning_rate=1.0)
    tuned, _ = run(tiny_lm, tmp_path, args, num_documents=12)
    losses = {entry["step"]: entry["eval_loss"] for entry in tuned.history if "eval_loss" in entry}
    assert tuned.kept_steps == min(losses, key=losses.__getitem__) < tuned.steps
    assert blocks_seen(tuned, args) == 2 * tuned.kept_steps


def test_dropout_is_that_of_the_adapters(tiny_lm: Path) -> None:
    model = load_model(resolve("lm", str(tiny_lm)))
    model.add_adapter(args_of(dropout=0.3))
    found = {module.p for name, module in model.model.named_modules() if name.endswith("lora_dropout.default")}
    assert found == {0.3}


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd", "adafactor"])
def test_every_optimizer_runs(tiny_lm: Path, tmp_path: Path, optim: str) -> None:
    tuned, state = run(tiny_lm, tmp_path, args_of(optim=optim, max_steps=2))
    assert tuned.steps == 2
    assert any(value.abs().sum() > 0 for name, value in state.items() if "lora_B" in name)


@pytest.mark.parametrize("steps_before", [1, 4, 5])
def test_a_run_cut_short_ends_with_the_weights_of_one_that_was_not(
    tiny_lm: Path, tmp_path: Path, steps_before: int
) -> None:
    args = args_of(save_steps=2, early_stopping=True, eval_steps=3)
    whole, expected = run(tiny_lm, tmp_path / "whole", args)
    folder = tmp_path / "cut"
    steps = iter(range(steps_before))
    with pytest.raises(StopIteration):
        run(tiny_lm, folder, args, advance=lambda: next(steps))
    checkpoint = newest_checkpoint(folder)
    assert (checkpoint.name if checkpoint else "") == {1: "", 4: "checkpoint-4", 5: "checkpoint-4"}[steps_before]
    tuned, found = run(tiny_lm, folder, args)
    assert tuned == whole
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_without_its_mark_is_removed(tmp_path: Path) -> None:
    for step, whole in ((5, True), (10, True), (15, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if whole:
            (folder / WHOLE).touch()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
