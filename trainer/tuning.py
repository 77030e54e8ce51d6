"""Fine-tune a language model's adapters on packed blocks; after a kill the next call resumes at the last checkpoint."""

import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from catalog import failpoint, files
from trainer.model import LanguageModel
from trainer.packing import PackedDataset, collate
from trainer.settings import TrainingArgs
from trainer.store import sync_folder

WHOLE = "WHOLE"  # in a checkpoint's folder once all its files are on disk
CURVES = ("step", "loss", "eval_loss", "grad_norm", "learning_rate")  # what is kept: times would differ from run to run
log = logging.getLogger("headrace")


@dataclass(frozen=True)
class Tuned:
    """How a training run ended: optimizer steps done, those in the weights that are kept, planned; patience ran out."""

    steps: int
    kept_steps: int
    planned_steps: int
    stopped_early: bool
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Data:
    """What a run trains on, and the blocks that early stopping watches (None: it is off)."""

    train: PackedDataset
    watched: PackedDataset | None


def tune(
    model: LanguageModel,
    data: Data,
    args: TrainingArgs,
    folder: Path,
    log_interval: int = 100,
    advance: Callable[[], object] = lambda: None,
) -> Tuned:
    """Train the model's adapters; checkpoints go to `folder`, and a run that was killed resumes from the newest."""
    checkpoint = newest_checkpoint(folder)
    if checkpoint:
        log.info("train: resuming from %s", checkpoint.name)
    watching = early_stopping_on(data, args)
    stopping = EarlyStoppingCallback(args.early_stopping_patience, args.early_stopping_threshold)
    callbacks: list[Any] = [_Checkpoints(args.save_steps, folder), _Progress(advance)]
    cached = model.model.config.use_cache
    model.model.config.use_cache = False  # a cache would switch off the separation of packed documents
    trainer = Trainer(
        model=model.model,
        args=_arguments(model, data, args, folder, log_interval),
        train_dataset=data.train,
        eval_dataset=data.watched if watching else None,
        data_collator=partial(collate, pad=model.end),
        callbacks=[*callbacks, stopping] if watching else callbacks,
    )
    _only_our_output(trainer)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    model.model.config.use_cache = cached  # it is saved with the weights
    planned = num_steps(data.train, args)
    state = trainer.state
    curves = ({name: float(entry[name]) for name in CURVES if name in entry} for entry in state.log_history)
    history = tuple(point for point in curves if len(point) > 1)
    best = state.best_model_checkpoint if watching else None  # what the trainer has put back at the end
    kept = int(best.rsplit("-", 1)[1]) if best else state.global_step
    return Tuned(state.global_step, kept, planned, state.global_step < planned, history)


def num_steps(train: PackedDataset, args: TrainingArgs) -> int:
    """Return the number of optimizer steps that a plan takes, under the cap."""
    batches = math.ceil(len(train) / args.per_device_train_batch_size)
    steps = math.ceil(batches / args.gradient_accumulation_steps)
    return min(steps, args.max_steps) if args.max_steps > 0 else steps


def blocks_seen(tuned: Tuned, args: TrainingArgs) -> int:
    """Return how many blocks of the plan the kept weights were trained on."""
    return tuned.kept_steps * args.gradient_accumulation_steps * args.per_device_train_batch_size


def early_stopping_on(data: Data, args: TrainingArgs) -> bool:
    """Tell whether there is held-out text for early stopping to watch, and it is asked for."""
    return args.early_stopping and data.watched is not None and len(data.watched) > 0


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the last whole checkpoint, and remove those that a kill has cut short."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if (path / WHOLE).is_file():
            whole.append(path)
        else:
            shutil.rmtree(path)
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def _arguments(
    model: LanguageModel, data: Data, args: TrainingArgs, folder: Path, log_interval: int
) -> TrainingArguments:
    watching = early_stopping_on(data, args)
    eval_steps = args.eval_steps or _epoch_steps(data.train, args)
    same_names = (
        "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps", "learning_rate",
        "weight_decay", "warmup_steps", "lr_scheduler_type", "optim", "max_grad_norm", "bf16", "seed",
    )  # fmt: skip
    return TrainingArguments(
        output_dir=str(folder),
        use_cpu=model.device == "cpu",
        **{name: getattr(args, name) for name in same_names},
        max_steps=num_steps(data.train, args),  # one pass over the plan, which holds every epoch in its own order
        train_sampling_strategy="sequential",
        eval_strategy="steps" if watching else "no",
        eval_steps=eval_steps,
        save_strategy="steps" if watching else "no",  # beyond these, _Checkpoints asks for one every save_steps
        save_steps=eval_steps,
        save_total_limit=2,
        load_best_model_at_end=watching,
        metric_for_best_model="loss" if watching else None,
        prediction_loss_only=True,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        logging_steps=log_interval,
        logging_first_step=True,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=False,
    )


def _epoch_steps(train: PackedDataset, args: TrainingArgs) -> int:
    return max(1, num_steps(train, args) // max(1, len(train.first_of_epoch)))


def _only_our_output(trainer: Trainer) -> None:
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


class _Checkpoints(TrainerCallback):
    """Asks for a checkpoint every `every` steps, and marks each one as whole when it is on disk."""

    def __init__(self, every: int, folder: Path) -> None:
        self._every = every
        self._folder = folder

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._every == 0 and state.global_step < state.max_steps:
            control.should_save = True
        failpoint.reach("step")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = self._folder / f"checkpoint-{state.global_step}"
        sync_folder(folder)
        failpoint.reach("checkpoint")
        files.write_new(str(folder / WHOLE), b"")


class _Progress(TrainerCallback):
    """Counts steps, and says what transformers would have printed."""

    def __init__(self, advance: Callable[[], object]) -> None:
        self._advance = advance

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._advance()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        shown = [(name, (logs or {}).get(name)) for name in ("loss", "eval_loss", "learning_rate")]
        text = ", ".join(f"{name} {value:.4g}" for name, value in shown if value is not None)
        if text:
            log.info("train: step %d of %d: %s", state.global_step, state.max_steps, text)
