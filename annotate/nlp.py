"""spaCy pipelines by name: the only place that loads them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import models
from catalog.errors import ModelUnavailable

if TYPE_CHECKING:
    from spacy.language import Language

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
    if missing:
        raise ModelUnavailable(
            f"spaCy model {weights.name} has no {' and no '.join(missing)}; choose a complete pipeline"
        )
    return nlp


def model_folder(weights: models.Weights) -> Path | None:
    """Find the folder with the pipeline's config.cfg, without importing spaCy; None where it is not installed."""
    root = weights.path
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
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
