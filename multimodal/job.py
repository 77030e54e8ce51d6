"""The embed and transcribe stages."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.errors import InputError, ModelUnavailable
from catalog.models import Task, Weights, fingerprint, resolve
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport
from multimodal import hub
from multimodal.backends import Backend, choose_backend
from multimodal.precision import Dtype, choose_dtype
from multimodal.settings import MultimodalSettings

if TYPE_CHECKING:
    from catalog.home import Home

EMBED_DEFAULT = Resources(cpus=2.0)
TRANSCRIBE_DEFAULT = Resources(cpus=2.0)
log = logging.getLogger("headrace")


def run_embed(home: "Home", config: Config) -> StageReport:
    """Give every picture and document that has none its features: one extract batch in, one batch out."""
    # fetched first: the recipe, and so the to-do list, asks whether they are here
    clip, text, captioner = _fetched(_weights(config, "clip")), _fetched(_weights(config, "text")), _captioner(config)
    captioner = captioner and _fetched(captioner)
    batches = home.todo(EMBED, config)
    if not batches:
        return StageReport("embed")  # before torch is loaded, which takes seconds
    from multimodal.plans import Planner
    from multimodal.workers import Embedder, EmbedModels

    plans = map(Planner(home.view(), EMBED, config).embed, batches)
    resources = config.resources("embed", EMBED_DEFAULT)
    settings = config.section(MultimodalSettings).embed
    models = EmbedModels(clip, text, captioner, _dtype(config))
    return home.publish(EMBED, config, plans, partial(Embedder, settings, models, home.warehouse, resources), resources)


def run_transcribe(home: "Home", config: Config) -> StageReport:
    """Write down what is said in every recording that has no transcript: one extract batch in, one batch out."""
    whisper = _fetched(_weights(config, "whisper"), _backend(config))
    batches = home.todo(TRANSCRIBE, config)
    if not batches:
        return StageReport("transcribe")
    from multimodal.listening import Listener
    from multimodal.plans import Planner

    plans = map(Planner(home.view(), TRANSCRIBE, config).transcribe, batches)
    resources = config.resources("transcribe", TRANSCRIBE_DEFAULT)
    settings, kinds = config.section(MultimodalSettings).transcribe, config.masking.masked_kinds
    listener = partial(Listener, settings, whisper, home.warehouse, resources, kinds)
    return home.publish(TRANSCRIBE, config, plans, listener, resources)


def embed_settings(config: Config) -> Mapping[str, object]:
    """Return what changes the rows of embed: its section, what the file in it holds, and which models are here."""
    embed, captioner = config.section(MultimodalSettings).embed, _captioner(config)
    return embed.model_dump(mode="json") | {
        "aesthetic": _head(embed.aesthetic),
        "dtype": _dtype(config),
        "clip": _model(_weights(config, "clip")),
        "text": _model(_weights(config, "text")),
        "captioner": captioner and _model(captioner),
    }


def transcribe_settings(config: Config) -> Mapping[str, object]:
    """Return what changes the rows of transcribe: its section, the backend, if its model is here, what is masked."""
    settings = config.section(MultimodalSettings).transcribe.model_dump(mode="json")
    backend = _backend(config)
    settings |= {"backend": backend, "whisper": _model(_weights(config, "whisper"), backend)}
    return settings | {"masked_kinds": sorted(config.masking.masked_kinds)}


def _weights(config: Config, task: Task) -> Weights:
    return resolve(task, getattr(config.catalog.models, task))


def _captioner(config: Config) -> Weights | None:
    return _weights(config, "captioner") if config.catalog.models.captioner else None


def _dtype(config: Config) -> Dtype:
    found = hub.locate(_weights(config, "clip"))
    gpus = config.resources("embed", EMBED_DEFAULT).gpus
    return choose_dtype(config.section(MultimodalSettings).embed.dtype, found.path if found else None, gpus)


def _head(path: Path | None) -> str | None:
    """Identify the file of the aesthetic head; raise InputError if there is none."""
    if path is None:
        return None
    if not path.expanduser().is_file():
        raise InputError(f"embed.aesthetic: {path}: no such file")
    return fingerprint(path.expanduser())


def _backend(config: Config) -> Backend:
    return choose_backend(config.section(MultimodalSettings).transcribe, _weights(config, "whisper"))


def _model(weights: Weights, kind: str = "") -> dict[str, object]:
    """Name a model and say whether it is here: weights that arrive later change the recipe, and rows are redone."""
    found = hub.locate(weights, kind)
    return {"name": weights.name, "revision": (found or weights).revision, "available": found is not None}


def _fetched(weights: Weights, kind: str = "") -> Weights:
    """Return the weights, downloaded if need be; without a path where they cannot be had: the worker rejects then."""
    try:
        return hub.fetch(weights, kind)
    except ModelUnavailable as error:
        log.warning("%s", error)
        return weights


EMBED = Stage(
    name="embed",
    reads=("extract",),
    tables=("image_features", "image_patches", "thumbnails", "text_features"),
    result_version=2,
    settings=embed_settings,
    run=run_embed,
    traces={"image_features": "media_id", "text_features": "document_id"},
)
TRANSCRIBE = Stage(
    name="transcribe",
    reads=("extract",),
    tables=("transcripts", "audio_states"),
    result_version=5,
    settings=transcribe_settings,
    run=run_transcribe,
    traces={"transcripts": "media_id"},
)
