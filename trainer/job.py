"""The train stage: consume every fuse batch once, in rounds that a kill cannot lose and that never run twice."""

import fcntl
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from catalog import files, ids, pipeline
from catalog.errors import CommitConflict
from catalog.home import Batch, Home, Plan
from catalog.settings import Config, Resources
from catalog.stage import Stage, StageReport, Worker
from trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from trainer.registry import Registry
    from trainer.round import Material, Outcome
    from trainer.selection import Selection

log = logging.getLogger("headrace")
DEFAULT = Resources(cpus=1.0, stall_seconds=86_400.0)
NO_ROWS = pa.table({"example_id": pa.array([], pa.string())})


def run_train(home: Home, config: Config) -> StageReport:
    """Run the round that a kill left open, if any, then one over all batches that are left."""
    started = time.monotonic()
    settings = config.section(TrainerSettings)
    report = StageReport(TRAIN.name)
    with only_one(rounds_folder(home)):
        while batches := home.todo(TRAIN, config):
            if not report.batches:
                for line in settings.not_acted_on():
                    log.warning("train: %s", line)
            _add(report, _round(home, config, _open_round(home, config, batches) or batches))
    report.seconds = time.monotonic() - started
    return report


def _round(home: Home, config: Config, batches: list[Batch]) -> StageReport:
    """Train on what is new in the batches, then close them: the ledger row is the cursor, so it comes last."""
    from trainer.round import Setting, run_round
    from trainer.selection import gather, select

    settings = config.section(TrainerSettings)
    view = home.view()
    round_id = _round_id(config, batches)
    selection = select(view, batches, view.state.consumed(TRAIN.name, None), settings)
    if not selection.new:
        note = f"nothing new to train on in {len(batches)} fuse batches; closed without a new version"
        return _close(home, config, Plan(selection.inputs(()), NO_ROWS, "example_id"), [note])
    material = gather(view, selection, round_id, settings)
    folder = rounds_folder(home) / round_id
    _prepare(folder, material)
    device = "cuda" if config.resources("train", DEFAULT).gpus else "cpu"
    registry = registry_of(home.root, settings)
    outcome = run_round(material, Setting(folder, registry, settings, config.catalog.models.lm, device))
    notes = _notes(outcome, selection, set(material.plan["row_id"].to_pylist()))
    report = _close(home, config, Plan(selection.inputs(outcome.trained), NO_ROWS, "example_id"), notes)
    shutil.rmtree(folder)
    return report


def registry_of(root: Path, settings: TrainerSettings) -> "Registry":
    """Return the registry of a home's model versions."""
    from trainer.registry import Registry

    return Registry(settings.monitoring.versioning.repository or root / "models")


def _prepare(folder: Path, material: "Material") -> None:
    """Keep the folder of a round that a kill left open; begin again if its rows changed since, as after a purge."""
    known = folder / "material"
    if known.is_file() and known.read_text() != material.fingerprint:
        log.info("train: the rows of the open round changed; it begins again")
        shutil.rmtree(folder)
    files.make_folders(folder)
    material.write_plan(folder / "plan.parquet")
    files.write_new(str(folder / "inputs"), "\n".join(material.inputs).encode())
    files.write_new(str(known), material.fingerprint.encode())


def _open_round(home: Home, config: Config, batches: list[Batch]) -> list[Batch] | None:
    """Return the batches of a round that a kill left open; remove what is left of rounds that cannot go on."""
    todo = {batch.batch_id: batch for batch in batches}
    for folder in sorted(path for path in rounds_folder(home).iterdir() if path.is_dir()):
        inputs = folder / "inputs"
        names = inputs.read_text().split() if inputs.is_file() else []
        found = [todo[name] for name in names if name in todo]
        if names and len(found) == len(names) and folder.name == _round_id(config, found):
            return found
        log.info("train: leaving round %s: its settings or inputs are no longer the current ones", folder.name)
        shutil.rmtree(folder)
    return None


def _round_id(config: Config, batches: list[Batch]) -> str:
    return ids.batch_id(TRAIN.name, pipeline.recipe(TRAIN, config), [batch.batch_id for batch in batches])


def _close(home: Home, config: Config, plan: Plan, notes: list[str]) -> StageReport:
    report = home.publish(TRAIN, config, [plan], _no_worker, config.resources("train", DEFAULT))
    report.notes += notes
    return report


def _no_worker() -> Worker:
    return _no_tables


def _no_tables(part: pa.Table) -> Mapping[str, pa.Table]:
    """Write nothing: a round's results are in the registry, its cursor in the ledger."""
    assert part.num_rows == 0
    return {}


def _notes(outcome: "Outcome", selection: "Selection", planned: set[str]) -> list[str]:
    """Say what became of a round, for people."""
    manifest = outcome.manifest
    verdict = "promoted" if manifest["gate"]["promoted"] else "not promoted"
    notes = [f"{manifest['version']} {verdict}: {'; '.join(manifest['gate']['reasons'])}"]
    before, after = manifest["metrics"]["before"], manifest["metrics"]["after"]
    shown = {part: [found[part]["perplexity"] for found in (before, after)] for part in before}
    notes += [
        f"perplexity on {part} held-out text {first:.2f} → {last:.2f}"
        for part, (first, last) in sorted(shown.items())
        if first is not None and last is not None
    ]
    left_out = selection.new.keys() - planned
    if left_out:
        notes.append(
            f"the balance left {len(left_out)} of {len(selection.new)} new examples out; later rounds replay them"
        )
    unseen = (selection.new.keys() & planned) - outcome.trained
    if unseen:
        notes.append(
            f"the round ended before {len(unseen)} of {len(selection.new)} new examples; later rounds replay them"
        )
    return notes


def _add(total: StageReport, one: StageReport) -> None:
    for name in ("batches", "num_in", "num_processed", "num_rejected", "num_reused", "num_skipped"):
        setattr(total, name, getattr(total, name) + getattr(one, name))
    total.notes += one.notes


def rounds_folder(home: Home) -> Path:
    """Return where open rounds lie."""
    return home.root / "rounds"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the rounds of this home; raise CommitConflict if another process trains in it."""
    files.make_folders(folder)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommitConflict(f"{folder}: another process is training here; wait for it, then run again") from error
        yield


def _result_settings(config: Config) -> Mapping[str, object]:
    settings = config.section(TrainerSettings)
    chosen = settings.model_dump(mode="json", include={"training_args", "replay", "balance", "gate"})
    return {**chosen, "model": config.catalog.models.lm}


TRAIN = Stage(
    name="train",
    reads=("fuse",),
    tables=(),
    result_version=1,
    settings=_result_settings,
    run=run_train,
    joins=True,
    forever=True,
)
