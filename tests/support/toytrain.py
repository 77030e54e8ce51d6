"""A real tiny language model, and a home whose fuse batches are written directly, for the trainer's tests.

Run as a script, `python toytrain.py MODEL ROOT=MOMENT…` trains in each root until killed at that failpoint, and again.
"""

import json
import os
import random
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from catalog import failpoint, pipeline, schema
from catalog.home import Home
from catalog.ids import make_id
from catalog.settings import Config
from catalog.stage import Stage, StageReport

SUBJECTS = {
    "tea": "tea leaves are steeped in hot water until the cup turns amber and the steam smells of the garden",
    "stone": "lava rises under the mountain and cools to black stone while ash drifts over the crater rim",
}
FETCHED = datetime(2026, 1, 1, tzinfo=UTC)


def write_text(subject: str, number: int, num_words: int = 60) -> str:
    """Write a document of random words of one subject, the same for the same number."""
    words = random.Random(f"{subject}/{number}").choices(SUBJECTS[subject].split(), k=num_words)
    return f"{subject} {number}\n\n" + " ".join(words)


def make_model(folder: Path) -> Path:
    """Write a Llama of about 100,000 weights that know the toy words, and a byte-level BPE tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([write_text(subject, k) for subject in SUBJECTS for k in range(20)], trainer)
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, eos_token_id=fast.eos_token_id, bos_token_id=None,
        pad_token_id=fast.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _pretrain(model, fast)
    model.save_pretrained(folder)
    return folder


def _pretrain(model: Any, tokenizer: Any) -> None:
    """Teach all weights a language whose words are those of all subjects, mixed; adapters alone could not."""
    import torch

    words = sorted(set(" ".join(SUBJECTS.values()).split()))
    text = " ".join(random.Random(0).choices(words, k=8000))
    tokens = torch.tensor(tokenizer(text, verbose=False)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(60):
        batch = tokens[step * 128 : (step + 1) * 128].view(4, 32)
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def example(subject: str, number: int, split: str = "train", change: str = "new", text: str = "") -> dict[str, Any]:
    """Make one row of `examples`."""
    document = make_id("toy document", subject, str(number))
    return {
        "example_id": make_id("toy example", subject, str(number)),
        "document_id": document,
        "document_batch": "extract",
        "url": f"http://toy/{subject}/{number}",
        "text": text or write_text(subject, number),
        "split": split,
        "change": change,
        "fetched_at": FETCHED,
    }


def _run_nothing(home: Home, config: Config) -> StageReport:
    return StageReport("fuse")


def _no_settings(config: Config) -> Mapping[str, object]:
    return {}


FUSE = Stage("fuse", (), ("examples", "duplicates"), 1, _no_settings, _run_nothing)


def install() -> dict[str, Stage]:
    """Put an origin that writes examples before the real train stage, in this process; return the stages."""
    from trainer.job import TRAIN

    stages = {"fuse": FUSE, "train": TRAIN}
    pipeline.stages = lambda: stages  # type: ignore[assignment]
    return stages


def make_config(root: Path, model: Path | str, **given: object) -> Config:
    """A configuration with quick training settings; keyword arguments are further top-level keys."""
    args = {
        "per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_train_epochs": 2, "dropout": 0.1,
        "learning_rate": 1e-2, "max_length": 64, "save_steps": 3, "early_stopping": False,
    }  # fmt: skip
    overrides: Any = given.pop("training_args", {})
    return Config({"root": str(root), "models": {"lm": str(model)}, "training_args": args | overrides, **given})


def fuse(home: Home, key: str, examples: Sequence[dict[str, Any]], duplicates: Sequence[dict[str, Any]] = ()) -> str:
    """Publish one fuse batch; return its id."""
    tables = {
        "examples": pa.Table.from_pylist(list(examples), schema=schema.body("examples")),
        "duplicates": pa.Table.from_pylist(list(duplicates), schema=schema.body("duplicates")),
    }
    home.publish_origin(FUSE, key, len(examples), tables, {})
    return next(batch.batch_id for batch in reversed(home.view().live("fuse")))


def batch_of(subject: str, first: int, num_train: int, num_held_out: int = 2) -> list[dict[str, Any]]:
    """Make a batch's examples: some to train on, some held out as val."""
    splits = ["train"] * num_train + ["val"] * num_held_out
    return [example(subject, first + k, split) for k, split in enumerate(splits)]


def train(root: Path, model: Path | str, **given: object) -> StageReport:
    """Run the train stage once."""
    config = make_config(root, model, **given)
    stage = install()["train"]
    return stage.run(Home.open(config.catalog), config)


def in_child(target: Callable[[], object]) -> int:
    """Run something in a forked process; return its exit code, negative when a signal ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            target()
        except BaseException:  # noqa: BLE001 — a child must never return into its parent's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def arm(moment: str) -> None:
    """Die at a failpoint (`name:n`), whatever the environment said."""
    failpoint._ARMED = moment
    failpoint._passed = 0


def main(model: str, moments: list[str]) -> None:
    """For each `ROOT=MOMENT`, train until killed and then again; print both exit codes as one line of JSON."""
    import trainer.round  # noqa: F401 — so that children need not; nothing has run in torch yet, so forking is safe

    def killed(root: str, moment: str) -> None:
        arm(moment)
        train(Path(root), model)

    for given in moments:
        root, _, moment = given.partition("=")
        codes = [in_child(partial(killed, root, moment)), in_child(partial(train, Path(root), model))]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
