"""A language model's tokenizer is found without its weights, or the remedy is said."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from toytokenizer import make_tokenizer

from catalog.errors import ModelUnavailable
from catalog.models import Weights
from multimodal.tokens import read_tokenizer


def test_a_folder_gives_its_tokenizer(tmp_path: Path) -> None:
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    found = Tokenizer.from_str(read_tokenizer(Weights("lm", "tiny", tmp_path, "r")))
    assert found.encode("tea leaves").ids == make_tokenizer().encode("tea leaves").ids


def test_what_has_none_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no tokenizer\.json, which fuse\.max_tokens counts with"):
        read_tokenizer(Weights("lm", "empty", tmp_path, "r"))
    with pytest.raises(ModelUnavailable, match=r"no/model.*fuse\.max_tokens counts with its tokenizer\.json"):
        read_tokenizer(Weights("lm", "no/model", None, "hub"))


def test_a_gguf_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ModelUnavailable, match=r"broken\.gguf: its tokenizer cannot be read"):
        read_tokenizer(Weights("lm", "broken", broken, "local:1"))
    (tmp_path / "tokenizer-model-1.json").write_text("{}")
    assert read_tokenizer(Weights("lm", "model", tmp_path / "model.gguf", "local:1")) == "{}"
