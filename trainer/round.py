"""One round: tune, evaluate, pass the gate, make a version. Every step leaves a file, so a killed round goes on."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog import files, progress
from catalog.ids import make_id
from catalog.models import Weights, resolve
from trainer.gate import Change, Decision, decide
from trainer.metrics import Score, score
from trainer.model import LanguageModel, load_model
from trainer.packing import PackedDataset
from trainer.plan import shuffled
from trainer.registry import Manifest, Registry
from trainer.settings import TrainerSettings, TrainingArgs
from trainer.store import file_sha256, publish_folder
from trainer.tuning import Data, Tuned, blocks_seen, early_stopping_on, num_steps, tune

log = logging.getLogger("headrace")
LIBRARIES = ("torch", "transformers", "peft", "headrace")


@dataclass(frozen=True)
class HeldOut:
    """One document that is never trained on."""

    row_id: str
    split: str
    text: str


@dataclass(frozen=True)
class Material:
    """What a round works on: the plan, the text of its rows, and held-out text of the new and of the older batches."""

    round_id: str
    inputs: tuple[str, ...]
    plan: pa.Table
    texts: Mapping[str, str]
    new: Sequence[HeldOut]
    old: Sequence[HeldOut]

    @property
    def fingerprint(self) -> str:
        """Hash which rows the round trains on, in order, and which it is measured with."""
        rows = [f"{row['epoch']}/{row['row_id']}" for row in self.plan.to_pylist()]
        return make_id("material", *self.inputs, *rows, *(item.row_id for item in [*self.new, *self.old]))

    def write_plan(self, path: Path) -> None:
        """Write the plan as Parquet, whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(self.plan, sink)
        files.replace(str(path), sink.getvalue().to_pybytes())


@dataclass(frozen=True)
class Outcome:
    """What a round ended with: its version, and the rows whose every token was trained on."""

    manifest: Manifest
    trained: frozenset[str]


@dataclass(frozen=True)
class Setting:
    """Where and how a round runs."""

    folder: Path  # of this round's own files
    registry: Registry
    settings: TrainerSettings
    model: str  # the name of the language model that the first version starts from
    device: str = "cpu"


def run_round(material: Material, setting: Setting) -> Outcome:
    """Take a round from where it stands to a committed version; the same round never makes two."""
    files.make_folders(setting.folder)
    args = setting.settings.training_args
    base = _base(setting)
    model = load_model(_base_weights(base, setting), setting.device)
    data = _data(model, material, args)
    before = _measured("before", model, material, setting)
    tuned = _tuned(model, data, setting)
    model.merge()
    after = _measured("after", model, material, setting)
    decision = decide(_change(before, after, "new"), _change(before, after, "old"), setting.settings.gate)
    manifest = _version(material, setting, (base, before, after), (tuned, decision), model)
    return Outcome(manifest, frozenset(data.train.rows_of(blocks_seen(tuned, args))))


def _base(setting: Setting) -> dict[str, Any]:
    """Pin what the round starts from, once: the promoted version, unless another language model is configured."""

    def choose() -> dict[str, Any]:
        promoted = setting.registry.promoted()
        if promoted and promoted["model"] != setting.model:
            log.info("train: models.lm is now %s; starting from it, not from %s", setting.model, promoted["version"])
            promoted = None
        return {"version": promoted["version"] if promoted else None, "created": datetime.now(UTC).isoformat()}

    return _once(setting.folder / "base.json", choose)


def _base_weights(base: Mapping[str, Any], setting: Setting) -> Weights:
    if base["version"] is None:
        return resolve("lm", setting.model)
    folder = setting.registry.weights(setting.registry.version(base["version"]))
    return Weights("lm", base["version"], folder, revision=folder.name)


def _data(model: LanguageModel, material: Material, args: TrainingArgs) -> Data:
    epochs: dict[int, list[str]] = {}
    for row in material.plan.to_pylist():
        epochs.setdefault(row["epoch"], []).append(row["row_id"])
    tokens = {row: [*model.encode(text), model.end] for row, text in material.texts.items()}
    train = PackedDataset([epochs[epoch] for epoch in sorted(epochs)], tokens, args.max_length)
    watched = {item.row_id: [*model.encode(item.text), model.end] for item in material.new if item.split == "val"}
    return Data(train, PackedDataset([sorted(watched)], watched, args.max_length) if watched else None)


def _measured(name: str, model: LanguageModel, material: Material, setting: Setting) -> dict[str, Any]:
    """Score both held-out slices and draw the sample, once."""
    args = setting.settings.training_args

    def measure() -> dict[str, Any]:
        slices = {"new": material.new, "old": material.old}
        scores = {
            key: score(model, [item.text for item in items], args.max_length, args.per_device_eval_batch_size)
            for key, items in slices.items()
        }
        sample = model.generate(_prompt(material), setting.settings.generation_args, args.seed)
        return {"scores": {key: asdict(found) if found else None for key, found in scores.items()}, "sample": sample}

    return _once(setting.folder / f"{name}.json", measure)


def _tuned(model: LanguageModel, data: Data, setting: Setting) -> Tuned:
    """Leave the model with trained adapters: those of this round if they are on disk, else after training them."""
    folder = setting.folder / "adapter"
    args = setting.settings.training_args
    if (folder / "tuned.json").is_file():
        model.load_adapter(folder)
        return Tuned(**json.loads((folder / "tuned.json").read_text()))
    if args.early_stopping and not early_stopping_on(data, args):
        log.info("train: early stopping is off: the new batches hold no 'val' examples out")
    model.add_adapter(args)
    with progress.bar("train", num_steps(data.train, args)) as bar:
        log_interval = setting.settings.monitoring.log_interval
        tuned = tune(model, data, args, setting.folder / "checkpoints", log_interval, bar.advance)

    def write(aside: Path) -> None:
        model.save_adapter(aside)
        (aside / "tuned.json").write_text(json.dumps(asdict(tuned)))

    publish_folder(folder, write)
    return tuned


def _version(
    material: Material,
    setting: Setting,
    measured: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    result: tuple[Tuned, Decision],
    model: LanguageModel,
) -> Manifest:
    base, before, after = measured
    tuned, decision = result
    registry = setting.registry
    plan = setting.folder / "plan.parquet"
    weights = {"adapter": registry.keep(setting.folder / "adapter"), "merged": None}
    if decision.promoted:
        merged = setting.folder / "merged"
        if not merged.is_dir():
            model.save(merged)
        weights["merged"] = registry.keep(merged)
    manifest = {
        "round": material.round_id,
        "material": material.fingerprint,
        "created": base["created"],
        "base": base["version"] or setting.model,
        "model": setting.model,
        "config": setting.settings.model_dump(mode="json"),
        "inputs": list(material.inputs),
        "plan_sha256": file_sha256(plan),
        "metrics": {"before": _readable(before), "after": _readable(after)},
        "steps": {key: value for key, value in asdict(tuned).items() if key != "history"},
        "history": [{name: _finite(value) for name, value in point.items()} for point in tuned.history],
        "gate": {"promoted": decision.promoted, "reasons": list(decision.reasons), "approver": "gate"},
        "sample": {"prompt": _prompt(material), "before": before["sample"], "after": after["sample"]},
        "weights": weights,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return registry.add(manifest, plan, decision.promoted)


def _prompt(material: Material) -> str:
    """Return the first words of one held-out document, or of a trained one where nothing is held out."""
    held_out = {item.row_id: item.text for item in [*material.new, *material.old]}
    texts = held_out or dict(material.texts)
    first = texts[shuffled(texts, "prompt")[0]]
    return " ".join(first.strip().split("\n", 1)[0].split()[:12])


def _change(before: Mapping[str, Any], after: Mapping[str, Any], part: str) -> Change | None:
    old, new = before["scores"][part], after["scores"][part]
    return Change(Score(**old).loss, Score(**new).loss, old["documents"]) if old and new else None


def _readable(measured: Mapping[str, Any]) -> dict[str, Any]:
    found = {part: Score(**item) for part, item in measured["scores"].items() if item}
    return {
        part: {
            "perplexity": _finite(item.perplexity),
            "loss": _finite(item.loss),
            "bits_per_byte": _finite(item.bits_per_byte),
            "documents": item.documents,
            "tokens": item.tokens,
        }
        for part, item in found.items()
    }


def _finite(value: float) -> float | None:
    """Return a number as JSON can hold it: None if the model diverged."""
    return value if math.isfinite(value) else None


def _once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what a file holds; make and write it first if it is not there."""
    if not path.is_file():
        files.replace(str(path), json.dumps(make()).encode())
    found: dict[str, Any] = json.loads(path.read_text())
    return found
