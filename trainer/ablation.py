"""What pictures are worth to a soft-token model: the loss of held-out text with, without and with others' features."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from catalog.errors import InputError
from catalog.export import current_examples
from catalog.home import Home
from catalog.interleaved import interleave
from catalog.settings import Config
from trainer.model import load_soft_model
from trainer.packing import IGNORED
from trainer.plan import shuffled
from trainer.settings import TrainerSettings
from trainer.soft import IMAGE, SoftExample, encode, soft_loss, without_features

if TYPE_CHECKING:
    from rich.console import Console

WITH_PATCHES = f"list_contains([one.\"table\" FOR one IN features], '{IMAGE}')"


def ablate(home: Home, config: Config, folder: Path, limit: int) -> dict[str, Any]:
    """Score a model of LLaVA's kind on at most `limit` examples that have features of pictures, held-out ones if any.

    `loss_without` leaves the features out; `loss_with_others` takes those of another example. Raise InputError where
    there are no features, or the model's projector takes others.
    """
    rows = current_examples(home, WITH_PATCHES).to_pylist()
    if not rows:
        raise InputError("no example has features of pictures; set embed.patches: true and run headrace run")
    held_out = [row for row in rows if row["split"] != "train"] or rows
    order = {
        example: place for place, example in enumerate(shuffled((row["example_id"] for row in held_out), "ablate"))
    }
    chosen = sorted(held_out, key=lambda row: order[row["example_id"]])[:limit]
    model, tokenizer = load_soft_model(folder)
    _check_width(model, chosen, folder)
    length = config.section(TrainerSettings).training_args.max_length
    tokens = {IMAGE: model.config.image_token_id}
    examples = [encode(pieces, tokenizer, tokens, length) for pieces in interleave(home.view(), chosen)]
    ways = {
        "loss": examples,
        "loss_without": [without_features(example) for example in examples],
        "loss_with_others": list(_with_others(examples)),
    }
    return {
        "model": str(folder),
        "splits": sorted({row["split"] for row in chosen}),
        "examples": len(examples),
        "tokens": sum(map(num_labels, examples)),
        "features_by": sorted({f"{one['model']}@{one['revision']}" for row in chosen for one in row["features"]}),
        **{name: _mean_loss(model, items) for name, items in ways.items()},
    }


def num_labels(example: SoftExample) -> int:
    """Return how many tokens are predicted: all of the text but one that stands first."""
    return sum(label != IGNORED for label in example.labels[1:])


def _mean_loss(model: Any, examples: Sequence[SoftExample]) -> float:
    """Return the loss in nats per token, each predicted once."""
    scored = [example for example in examples if num_labels(example)]
    with torch.inference_mode():
        summed = sum(float(soft_loss(model, [example])) * num_labels(example) for example in scored)
    return summed / max(1, sum(map(num_labels, scored)))


def _with_others(examples: Sequence[SoftExample]) -> Iterator[SoftExample]:
    """Give each place of features those of the next place, in the next example if need be, of equal shape."""
    places = [(table, values) for example in examples for table, values in example.features]
    moved = iter(places[1:] + places[:1])
    for example in examples:
        swapped = tuple((table, next(moved)[1][: len(values)]) for table, values in example.features)
        fits = all(len(new) == len(old) for (_, new), (_, old) in zip(swapped, example.features, strict=True))
        yield SoftExample(example.input_ids, example.labels, swapped if fits else example.features)


def _check_width(model: Any, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    wanted = model.model.multi_modal_projector.linear_1.in_features
    for row in rows:
        for one in row["features"]:
            if one["table"] == IMAGE and one["shape"][-1] != wanted:
                by = f"{one['model']}@{one['revision']} gives {one['shape'][-1]}"
                raise InputError(
                    f"{folder}: its projector takes features of {wanted} numbers, but {by}; see docs/examples.md"
                )


def render(result: dict[str, Any], console: "Console") -> None:
    """Print the three losses."""
    where = f"{result['examples']} examples ({', '.join(result['splits'])}), {result['tokens']} tokens of text"
    console.print(f"{where}, features by {', '.join(result['features_by'])}", highlight=False, markup=False)
    names = {"loss": "with its features", "loss_without": "without features", "loss_with_others": "with others'"}
    for name, said in names.items():
        console.print(f"{said:>18}  {result[name]:.4f} nats a token", highlight=False, markup=False)
