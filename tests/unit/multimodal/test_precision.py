"""Which numbers a model computes with."""

import json
from pathlib import Path

import pytest

from multimodal import precision
from multimodal.precision import choose_dtype


def model(folder: Path, layers: object) -> Path:
    folder.mkdir()
    config = {"model_cfg": {"vision_cfg": {"layers": layers}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def test_auto_takes_bfloat16_where_it_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, resnet = model(tmp_path / "vit", 12), model(tmp_path / "rn", [2, 2, 2, 1])
    for has, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(precision, "_cpu_multiplies_bfloat16", lambda has=has: has)
        assert choose_dtype("auto", transformer, 0) == expected
        assert choose_dtype("auto", resnet, 0) == choose_dtype("auto", None, 0) == "float32"
        assert choose_dtype("auto", resnet, 0.5) == "bfloat16"  # a GPU
        assert choose_dtype("float32", transformer, 1) == "float32"
        assert choose_dtype("bfloat16", resnet, 0) == "bfloat16"
