"""What the trainer can be told; the field names are those that users of transformers already type."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from catalog.settings import Settings

Metric = Literal["bleu", "rouge", "bertscore", "perplexity"]
ACTED_ON_METRICS: frozenset[str] = frozenset({"perplexity"})
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class LoraArgs(Settings):
    """Low-rank adapters (Hu et al., arXiv:2106.09685): rank, scale and the modules that get one."""

    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    target_modules: str | tuple[str, ...] = "all-linear"


class TrainingArgs(Settings):
    """One round of fine-tuning, in the names of transformers.TrainingArguments where it has one."""

    model_config = ConfigDict(populate_by_name=True)

    per_device_train_batch_size: int = Field(default=8, ge=1)
    per_device_eval_batch_size: int = Field(default=8, ge=1)
    gradient_accumulation_steps: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    num_train_epochs: int = Field(default=3, ge=1)
    max_steps: int = Field(default=-1, ge=-1)  # a cap; -1: none
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)  # of the adapters; a causal LM itself is frozen
    early_stopping: bool = True
    early_stopping_patience: int = Field(default=5, ge=1)
    early_stopping_threshold: float = Field(default=0.0, ge=0)
    eval_steps: int | None = Field(default=None, ge=1)  # None: once per epoch
    save_steps: int = Field(default=50, ge=1)
    warmup_steps: float = Field(default=0.0, ge=0)  # below 1: a share of all steps
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "linear"
    optim: Literal["adamw_torch", "sgd", "adafactor"] = "adamw_torch"
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=512, ge=8, alias="max_seq_length")  # tokens in a block
    bf16: bool = False
    seed: int = Field(default=42, ge=0)
    lora: LoraArgs = LoraArgs()

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, given: object) -> object:
        if isinstance(given, dict) and {"max_length", "max_seq_length"} <= given.keys():
            raise ValueError("max_seq_length is another name of max_length; give one of them")
        return given


class GenerationArgs(Settings):
    """How text is sampled, in the names of transformers.GenerationConfig."""

    max_new_tokens: int = Field(default=50, ge=1)
    temperature: float = Field(default=0.7, gt=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    repetition_penalty: float = Field(default=1.2, gt=0)
    do_sample: bool = True


class ReplayArgs(Settings):
    """How many older examples are mixed in: a share of the new ones (arXiv:2403.08763), at least `minimum`."""

    fraction: float = Field(default=0.25, ge=0)
    minimum: int = Field(default=4, ge=0)


class BalanceArgs(Settings):
    """Which share of a round's rows each class, source, language or licence gets; null: as many as there are."""

    by: Literal["source_class", "source", "language", "licence"] | None = None
    shares: dict[str, float] = Field(default_factory=dict)  # of these values; the others share what is left
    temperature: float = Field(default=1.0, ge=1, allow_inf_nan=False)  # 1: as they are; large: equal shares
    max_repeats: int = Field(default=4, ge=1)  # of one row an epoch, rather than leaving rows of the others out

    @model_validator(mode="after")
    def _shares_out_one_whole(self) -> Self:
        if self.by is None and (self.shares or self.temperature != 1):
            raise ValueError("say by which column: source_class, source, language or licence")
        if any(share < 0 for share in self.shares.values()) or sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("shares must not be negative, and be 1 at most together")
        return self


class GateArgs(Settings):
    """What a candidate must reach; differences are in nats per token of held-out text."""

    splits: tuple[Literal["val", "test"], ...] = Field(default=("val", "test"), min_length=1)
    tolerance: float = Field(default=0.0, ge=0)  # by how much new held-out text may get worse
    old_budget: float = Field(default=0.05, ge=0)  # by how much older held-out text may get worse
    max_documents: int = Field(default=200, ge=1)  # of each slice


class SelfSupervisedLearning(Settings):
    """Masked-language-model pretraining."""

    task: Literal["mask_language_model"] = "mask_language_model"
    mask_probability: float = Field(default=0.15, gt=0, lt=1)
    context_length: int = Field(default=128, ge=8)
    learning_rate: float = Field(default=3e-5, gt=0)
    batch_size: int = Field(default=256, ge=1)


class TaskWeights(Settings):
    """The weight of each head's loss in multi-task training."""

    classification: float = Field(default=0.4, ge=0)
    sentiment: float = Field(default=0.3, ge=0)
    summary: float = Field(default=0.3, ge=0)


class Versioning(Settings):
    """Where model versions are kept; None: `models` below the root."""

    provider: Literal["git"] = "git"
    repository: Path | None = None


class Alerting(Settings):
    """Whom to tell when a metric falls below its threshold."""

    threshold: dict[Metric, float] = Field(default_factory=dict)
    method: Literal["", "email"] = ""
    recipient: str = ""


class Monitoring(Settings):
    """What is measured, how often it is logged, where versions go and who is alerted."""

    metrics: tuple[Metric, ...] = ("perplexity",)
    log_interval: int = Field(default=100, ge=1)
    versioning: Versioning = Versioning()
    alerting: Alerting = Alerting()


class FeedbackSystem(Settings):
    """How ratings of generations become training data, and when they start a round."""

    assessment_model: Literal["LIME", "SHAP"] = "LIME"
    collection_method: Literal["rating_system", "comments"] = "rating_system"
    threshold: float = 3.0
    auto_retrain_count: int = Field(default=10, ge=1)
    retrain_interval: timedelta = timedelta(hours=24)
    data_conversion_script: Path = Path("./convert_feedback_to_dataset.py")

    @field_validator("retrain_interval", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip())
        if match is None:
            raise ValueError("expected a number and a unit: 90s, 30m, 24h or 7d")
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


class TrainerSettings(Settings):
    """The trainer's sections of the one configuration file."""

    training_args: TrainingArgs = TrainingArgs()
    generation_args: GenerationArgs = GenerationArgs()
    replay: ReplayArgs = ReplayArgs()
    balance: BalanceArgs = BalanceArgs()
    gate: GateArgs = GateArgs()
    self_supervised_learning: SelfSupervisedLearning = SelfSupervisedLearning()
    task_weights: TaskWeights = TaskWeights()
    monitoring: Monitoring = Monitoring()
    feedback_system: FeedbackSystem = FeedbackSystem()

    def not_acted_on(self) -> list[str]:
        """Return a sentence for each thing that the file asks for and this version does not do."""
        sections = ("feedback_system", "self_supervised_learning", "task_weights")
        asked = [name for name in sections if name in self.model_fields_set]
        if "alerting" in self.monitoring.model_fields_set:
            asked.append("monitoring.alerting")
        asked += [f"monitoring.metrics: {name}" for name in self.monitoring.metrics if name not in ACTED_ON_METRICS]
        return [f"{name} is accepted and not yet acted on" for name in asked]
