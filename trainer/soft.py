"""Examples with features for language models that take soft tokens: LLaVA's kind, through transformers.

A picture's rows of features pass the model's own projector and stand in for as many placeholder tokens, by its
`mm_encoder_outputs`; the encoder is never run. For recordings no such model has a projector: it has to be given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from catalog.interleaved import Piece, Soft
from trainer.packing import IGNORED

IMAGE, AUDIO = "image_patches", "audio_states"
Projector: TypeAlias = Callable[[torch.Tensor], torch.Tensor]  # rows of features → rows of embeddings


@dataclass(frozen=True)
class SoftExample:
    """Tokens with placeholders, the labels of those that are text, and the features in the order of their places."""

    input_ids: list[int]
    labels: list[int]
    features: tuple[tuple[str, NDArray[np.float16]], ...]


def encode(
    pieces: Iterable[Piece], tokenizer: Any, placeholders: Mapping[str, int], max_length: int | None = None
) -> SoftExample:
    """Turn the pieces of an example into at most `max_length` tokens; one placeholder token a row of features.

    `placeholders` gives the token of each table (image_patches, audio_states); features of other tables are left out.
    """
    ids: list[int] = []
    labels: list[int] = []
    features: list[tuple[str, NDArray[np.float16]]] = []
    for piece in pieces:
        room = max_length - len(ids) if max_length is not None else None
        if isinstance(piece, Soft):
            values = piece.values[:room]
            if piece.table in placeholders and len(values):
                ids += [placeholders[piece.table]] * len(values)
                labels += [IGNORED] * len(values)
                features.append((piece.table, values))
        else:
            tokens = tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"][:room]
            ids += tokens
            labels += tokens
    return SoftExample(ids, labels, tuple(features))


def without_features(example: SoftExample) -> SoftExample:
    """Return an example without its features and their placeholders."""
    kept = [(token, label) for token, label in zip(example.input_ids, example.labels, strict=True) if label != IGNORED]
    return SoftExample([token for token, _ in kept], [label for _, label in kept], ())


def soft_loss(model: Any, examples: Sequence[SoftExample], audio: Projector | None = None) -> torch.Tensor:
    """Return the mean loss (nats a token) over the text of some examples, padded on the right; gradients flow.

    `audio` projects rows of audio_states; it is needed where an example has some.
    """
    width = max(len(example.input_ids) for example in examples)
    fill = {"input_ids": _padding(examples), "labels": IGNORED, "attention_mask": 0}
    rows = [
        {"input_ids": item.input_ids, "labels": item.labels, "attention_mask": [1] * len(item.input_ids)}
        for item in examples
    ]
    batch: dict[str, Any] = {
        name: torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows], device=model.device)
        for name, value in fill.items()
    }
    features = [item for example in examples for item in example.features]
    pictures = [_tensor(model, values) for table, values in features if table == IMAGE]
    if pictures:
        batch["mm_encoder_outputs"] = {"image": _projected(model, pictures)}
    states = [_tensor(model, values) for table, values in features if table == AUDIO]
    if states:
        assert audio is not None, "an example has audio_states: give the projector that the model was trained with"
        embeddings = model.get_input_embeddings()(batch["input_ids"])
        places = _places(examples, AUDIO, width).to(model.device)
        heard = audio(torch.cat(states)).to(embeddings.dtype)
        batch["inputs_embeds"] = embeddings.masked_scatter(places.unsqueeze(-1), heard)
        del batch["input_ids"]
    loss: torch.Tensor = model(**batch).loss
    return loss


def _padding(examples: Sequence[SoftExample]) -> int:
    """Return a token that is no placeholder."""
    pairs = (pair for item in examples for pair in zip(item.input_ids, item.labels, strict=True))
    used = {token for token, label in pairs if label == IGNORED}
    return next(token for token in range(len(used) + 1) if token not in used)


def _tensor(model: Any, values: NDArray[np.float16]) -> torch.Tensor:
    return torch.tensor(values, device=model.device).to(model.dtype)


def _projected(model: Any, pictures: Sequence[torch.Tensor]) -> Any:
    """Pass features through the model's projector, as its own encoder's output would be."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    output: Any = BaseModelOutputWithPooling
    return output(pooler_output=[model.model.multi_modal_projector(rows) for rows in pictures])


def _places(examples: Sequence[SoftExample], table: str, width: int) -> torch.Tensor:
    """Return which tokens are placeholders of a table's features."""
    places = torch.zeros(len(examples), width, dtype=torch.bool)
    for index, example in enumerate(examples):
        owners = [name for name, values in example.features for _ in range(len(values))]
        spots = [place for place, label in enumerate(example.labels) if label == IGNORED]
        for place, owner in zip(spots, owners, strict=True):
            places[index, place] = owner == table
    return places
