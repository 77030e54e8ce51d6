"""CTranslate2's Whisper becomes openai-whisper's."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from catalog.errors import Corrupt
from catalog.models import Weights
from multimodal.ct2 import convert_once, read_variables, to_openai


def packed(name: str, array: np.ndarray, dtype: int) -> bytes:
    text = name.encode() + b"\0"
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return struct.pack("<H", len(text)) + text + shape + struct.pack("<BI", dtype, array.nbytes) + array.tobytes()


def test_variables_are_read_as_written(tmp_path: Path) -> None:
    floats, ints = np.arange(6, dtype=np.float16).reshape(2, 3), np.array([7], dtype=np.int8)
    head = struct.pack("<I", 6) + struct.pack("<H", 2) + b"W\0" + struct.pack("<II", 3, 2)
    path = tmp_path / "model.bin"
    path.write_bytes(head + packed("a/weight", floats, 4) + packed("b", ints, 1))
    found = read_variables(path)
    assert found.keys() == {"a/weight", "b"}
    np.testing.assert_array_equal(found["a/weight"], floats)
    np.testing.assert_array_equal(found["b"], ints)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match=r"model\.bin"):
        read_variables(path)


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(Corrupt, match="encoder/conv1/weight"):
        to_openai({"encoder/embeddings/weight": np.zeros((2, 2), np.float32)})


def test_the_conversion_is_written_once_and_loads_without_pickled_code(
    whisper_weights: Weights, tmp_path: Path
) -> None:
    assert whisper_weights.path is not None
    target = convert_once(whisper_weights.path, tmp_path / "cache" / "tiny.pt")
    assert [path.name for path in target.parent.iterdir()] == ["tiny.pt"]
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint["dims"]["n_audio_state"] == 384
    assert checkpoint["dims"]["n_audio_layer"] == checkpoint["dims"]["n_text_layer"] == 4
    written = target.stat().st_mtime_ns
    assert convert_once(whisper_weights.path, target).stat().st_mtime_ns == written


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(Corrupt):
        convert_once(tmp_path, tmp_path / "cache" / "x.pt")
    assert list((tmp_path / "cache").iterdir()) == []
