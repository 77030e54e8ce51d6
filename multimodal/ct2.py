"""Turn a Whisper model in CTranslate2's format into an openai-whisper checkpoint.

model.bin, little endian: u32 version; str spec; u32 revision; u32 count; then per variable str name, u8 rank,
u32 shape[rank], u8 dtype, u32 bytes, raw data. A str is u16 length and bytes with a trailing NUL.
"""

import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from catalog.errors import Corrupt

Array = NDArray[Any]
DTYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
HEAD_WIDTH = 64  # of every Whisper model


def convert_once(folder: Path, target: Path) -> Path:
    """Write `folder`'s model as a checkpoint at `target` (loads with weights_only=True) unless it is there."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            torch.save(to_openai(read_variables(folder / "model.bin")), aside)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    return target


def read_variables(path: Path) -> dict[str, Array]:
    """Read every variable of a CTranslate2 model, by name; raise Corrupt if the file is not one."""
    try:
        with path.open("rb") as file:
            _number(file, "I")  # binary version
            _string(file)  # spec
            _number(file, "I")  # revision
            return dict(_variable(file) for _ in range(_number(file, "I")))
    except (struct.error, ValueError, KeyError) as error:  # UnicodeDecodeError is a ValueError
        raise Corrupt(f"{path}: not a CTranslate2 model: {error}") from error


def _number(file: BinaryIO, kind: str) -> int:
    value: int = struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]
    return value


def _string(file: BinaryIO) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()


def _variable(file: BinaryIO) -> tuple[str, Array]:
    name = _string(file)
    shape = [_number(file, "I") for _ in range(_number(file, "B"))]
    dtype = DTYPES[_number(file, "B")]
    return name, np.frombuffer(file.read(_number(file, "I")), dtype=dtype).reshape(shape)


def to_openai(variables: Mapping[str, Array]) -> dict[str, Any]:
    """Map CTranslate2's variables to what openai-whisper saves: dims and model_state_dict (float32)."""
    state = _State(variables)
    sides = {side: _num_layers(variables, side) for side in ("encoder", "decoder")}
    for side, count in sides.items():
        for index in range(count):
            state.block(f"{side}.blocks.{index}", f"{side}/layer_{index}", cross=side == "decoder")
    state.linear("encoder.conv1", "encoder/conv1")
    state.linear("encoder.conv2", "encoder/conv2")
    state.copy("encoder.positional_embedding", "encoder/position_encodings/encodings")
    state.norm("encoder.ln_post", "encoder/layer_norm")
    state.copy("decoder.token_embedding.weight", "decoder/embeddings/weight")
    state.copy("decoder.positional_embedding", "decoder/position_encodings/encodings")
    state.norm("decoder.ln", "decoder/layer_norm")
    width = state.tensors["encoder.ln_post.weight"].shape[0]
    dims = {
        "n_mels": state.tensors["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": state.tensors["encoder.positional_embedding"].shape[0],
        "n_audio_state": width,
        "n_audio_head": width // HEAD_WIDTH,
        "n_audio_layer": sides["encoder"],
        "n_vocab": state.tensors["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": state.tensors["decoder.positional_embedding"].shape[0],
        "n_text_state": width,
        "n_text_head": width // HEAD_WIDTH,
        "n_text_layer": sides["decoder"],
    }
    return {"dims": dims, "model_state_dict": state.tensors}


class _State:
    """A model_state_dict in the making: each method copies one module's variables."""

    def __init__(self, variables: Mapping[str, Array]) -> None:
        self._variables = variables
        self.tensors: dict[str, torch.Tensor] = {}

    def copy(self, target: str, source: str) -> None:
        if source not in self._variables:
            raise Corrupt(f"no float Whisper model: the variable {source} is missing")
        self.tensors[target] = torch.from_numpy(self._variables[source].astype(np.float32))

    def norm(self, target: str, source: str) -> None:
        self.copy(f"{target}.weight", f"{source}/gamma")
        self.copy(f"{target}.bias", f"{source}/beta")

    def linear(self, target: str, source: str) -> None:
        self.copy(f"{target}.weight", f"{source}/weight")
        self.copy(f"{target}.bias", f"{source}/bias")

    def fused(self, target: str, source: str, names: tuple[str, ...]) -> None:
        """Split one fused projection into its parts."""
        self.linear(target, source)
        weights = self.tensors.pop(f"{target}.weight").chunk(len(names))
        biases = self.tensors.pop(f"{target}.bias").chunk(len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            self.tensors[f"{target}.{name}.weight"] = weight.clone()
            if name != "key":  # Whisper's keys have no bias
                self.tensors[f"{target}.{name}.bias"] = bias.clone()

    def block(self, target: str, source: str, *, cross: bool) -> None:
        self.norm(f"{target}.attn_ln", f"{source}/self_attention/layer_norm")
        self.fused(f"{target}.attn", f"{source}/self_attention/linear_0", ("query", "key", "value"))
        self.linear(f"{target}.attn.out", f"{source}/self_attention/linear_1")
        if cross:
            self.norm(f"{target}.cross_attn_ln", f"{source}/attention/layer_norm")
            self.linear(f"{target}.cross_attn.query", f"{source}/attention/linear_0")
            self.fused(f"{target}.cross_attn", f"{source}/attention/linear_1", ("key", "value"))
            self.linear(f"{target}.cross_attn.out", f"{source}/attention/linear_2")
        self.norm(f"{target}.mlp_ln", f"{source}/ffn/layer_norm")
        self.linear(f"{target}.mlp.0", f"{source}/ffn/linear_0")
        self.linear(f"{target}.mlp.2", f"{source}/ffn/linear_1")


def _num_layers(variables: Mapping[str, Array], side: str) -> int:
    prefix = f"{side}/layer_"
    layers = {name.removeprefix(prefix).split("/")[0] for name in variables if name.startswith(prefix)}
    return sum(layer.isdigit() for layer in layers)
