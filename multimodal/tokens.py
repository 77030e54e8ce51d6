"""The tokenizer of a language model, found without loading its weights."""

import json
from pathlib import Path

from catalog import files
from catalog.errors import ModelUnavailable
from catalog.models import Weights, cache_dir, fingerprint, remedy

FILE = "tokenizer.json"


def read_tokenizer(weights: Weights) -> str:
    """Return the text of a language model's tokenizer.json; raise ModelUnavailable with the remedy.

    That of a GGUF file is converted once and cached.
    """
    if weights.path is None:
        return _downloaded(weights).read_text(encoding="utf-8")
    if weights.path.is_dir():
        if not (weights.path / FILE).is_file():
            raise ModelUnavailable(f"{weights.path}: has no {FILE}, which fuse.max_tokens counts with; save it there")
        return (weights.path / FILE).read_text(encoding="utf-8")
    cached = cache_dir() / f"tokenizer-{weights.path.stem}-{weights.revision.removeprefix('local:')}.json"
    if not cached.is_file():
        files.replace(str(cached), _converted(weights.path).encode())
    return cached.read_text(encoding="utf-8")


def tokenizer_revision(weights: Weights) -> str:
    """Identify the tokenizer that would be read: other weights in the same folder leave it as it is."""
    file = weights.path / FILE if weights.path else None
    return f"local:{fingerprint(file)}" if file and file.is_file() else weights.revision


def _downloaded(weights: Weights) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(huggingface_hub.hf_hub_download(weights.name, FILE))
    except (OSError, HfHubHTTPError) as error:
        raise ModelUnavailable(f"{remedy('lm', weights.name)}; fuse.max_tokens counts with its {FILE}") from error


def _converted(gguf: Path) -> str:
    """Read a GGUF file's tokenizer as tokenizer.json would hold it."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise ModelUnavailable(f"{gguf.name}: reading GGUF needs another package: pip install gguf") from error
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{gguf}: its tokenizer cannot be read: {' '.join(str(error).split())[:200]}") from error
    return json.dumps(json.loads(tokenizer.backend_tokenizer.to_str()), ensure_ascii=False)
