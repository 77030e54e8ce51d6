"""The trainer's sections load under the names and defaults that users type, and refuse the rest."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from catalog.errors import ConfigError
from catalog.settings import Config
from trainer.settings import TrainerSettings, TrainingArgs

TRAINING = {
    "per_device_train_batch_size": 8, "learning_rate": 5e-5, "num_train_epochs": 3, "weight_decay": 0.01,
    "dropout": 0.3, "early_stopping": True, "early_stopping_patience": 5, "gradient_accumulation_steps": 4,
}  # fmt: skip
GENERATION = {"max_new_tokens": 50, "temperature": 0.7, "top_p": 0.95, "repetition_penalty": 1.2, "do_sample": True}
MONITORING = {
    "metrics": ["bleu", "rouge", "bertscore", "perplexity"],
    "log_interval": 100,
    "versioning": {"provider": "git", "repository": "/path/to/model/repo"},
    "alerting": {"threshold": {"bleu": 0.3, "rouge": 0.4}, "method": "email", "recipient": "admin@example.com"},
}
FEEDBACK = """
feedback_system: {assessment_model: LIME, collection_method: rating_system, threshold: 3.0, auto_retrain_count: 10,
                  retrain_interval: 24h, data_conversion_script: ./convert_feedback_to_dataset.py}
"""
PRETRAINING = """
self_supervised_learning: {task: mask_language_model, mask_probability: 0.15, context_length: 128, learning_rate: 3e-5,
                           batch_size: 256}
"""


def load(tmp_path: Path, text: str, name: str = "config.yaml") -> TrainerSettings:
    (tmp_path / name).write_text(text)
    return Config.load(tmp_path / name).section(TrainerSettings)


def test_a_file_of_training_args_alone_loads_to_exactly_its_values(tmp_path: Path) -> None:
    args = load(tmp_path, json.dumps(TRAINING), "train.json").training_args
    assert {name: getattr(args, name) for name in TRAINING} == TRAINING


def test_the_defaults_are_those_values() -> None:
    assert {name: getattr(TrainingArgs(), name) for name in TRAINING} == TRAINING


def test_a_file_of_generation_args_alone_loads_and_equals_the_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, json.dumps(GENERATION), "generate.json")
    assert settings.generation_args.model_dump() == GENERATION == TrainerSettings().generation_args.model_dump()


def test_monitoring_loads_as_it_stands(tmp_path: Path) -> None:
    monitoring = load(tmp_path, json.dumps({"monitoring": MONITORING}), "monitor.json").monitoring
    assert monitoring.model_dump(mode="json") == MONITORING


def test_feedback_system_loads_as_it_stands(tmp_path: Path) -> None:
    feedback = load(tmp_path, FEEDBACK).feedback_system
    assert feedback.retrain_interval == timedelta(hours=24)
    assert (feedback.assessment_model, feedback.threshold, feedback.auto_retrain_count) == ("LIME", 3.0, 10)


def test_self_supervised_learning_loads_as_it_stands(tmp_path: Path) -> None:
    section = load(tmp_path, PRETRAINING).self_supervised_learning
    assert section.learning_rate == 3e-5  # which YAML reads as a string
    assert (section.mask_probability, section.context_length, section.batch_size) == (0.15, 128, 256)


def test_numeric_strings_coerce(tmp_path: Path) -> None:
    args = load(
        tmp_path, "training_args: {learning_rate: 5e-5, num_train_epochs: '5', weight_decay: '0.1'}"
    ).training_args
    assert (args.learning_rate, args.num_train_epochs, args.weight_decay) == (5e-5, 5, 0.1)


@pytest.mark.parametrize("text", ["training_args: {max_seq_length: 128}", "max_seq_length: 128"])
def test_max_seq_length_is_max_length(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).training_args.max_length == 128


def test_both_names_of_one_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_seq_length is another name of max_length"):
        load(tmp_path, "training_args: {max_seq_length: 128, max_length: 256}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "training_args: {learning_rat: 1}",
            r"unknown setting 'training_args.learning_rat'; did you mean 'learning_rate'",
        ),
        ("monitoring: {metrics: [blue]}", r"monitoring\.metrics\.0"),
        ("monitoring: {versioning: {provider: svn}}", r"monitoring\.versioning\.provider"),
        ("training_args: {dropout: 1.0}", r"training_args\.dropout"),
        ("training_args: {learning_rate: fast}", r"training_args\.learning_rate"),
        ("generation_args: {top_p: 2}", r"generation_args\.top_p"),
        ("feedback_system: {retrain_interval: daily}", r"expected a number and a unit: 90s, 30m, 24h or 7d"),
        ("gate: {splits: [train]}", r"gate\.splits\.0"),
    ],
)
def test_wrong_settings_name_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"config\.yaml: .*{message}"):
        load(tmp_path, text)


def test_what_is_not_acted_on_yet_is_said(tmp_path: Path) -> None:
    settings = load(tmp_path, FEEDBACK + PRETRAINING + f"monitoring: {json.dumps(MONITORING)}")
    named = [line.partition(" is accepted and not yet acted on")[0] for line in settings.not_acted_on()]
    assert named == [
        "feedback_system", "self_supervised_learning", "monitoring.alerting", "monitoring.metrics: bleu",
        "monitoring.metrics: rouge", "monitoring.metrics: bertscore",
    ]  # fmt: skip


def test_defaults_ask_for_nothing_that_is_not_acted_on() -> None:
    assert TrainerSettings().not_acted_on() == []
