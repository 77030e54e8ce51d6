"""Training data: documents in plan order, packed into blocks without attention or loss across their borders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

IGNORED = -100  # the label that torch's cross entropy skips


@dataclass(frozen=True)
class Piece:
    """Tokens start … end of one document."""

    row_id: str
    start: int
    end: int


class PackedDataset(Dataset[dict[str, list[int]]]):
    """Map-style blocks of at most `length` tokens, in plan order; each epoch starts a new block."""

    def __init__(self, epochs: Sequence[Sequence[str]], tokens: Mapping[str, Sequence[int]], length: int) -> None:
        self._tokens: dict[str, npt.NDArray[np.int32]] = {
            row: np.asarray(document, np.int32) for row, document in tokens.items()
        }
        self.blocks: list[list[Piece]] = []
        self.first_of_epoch: list[int] = []
        for epoch in epochs:
            self.first_of_epoch.append(len(self.blocks))
            self.blocks += cut_blocks([(row, len(self._tokens[row])) for row in epoch], length)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        """Return one block: tokens, positions restarting at each piece, labels without its first token."""
        ids: list[int] = []
        positions: list[int] = []
        labels: list[int] = []
        for piece in self.blocks[index]:
            tokens = self._tokens[piece.row_id][piece.start : piece.end].tolist()
            ids += tokens
            positions += range(len(tokens))
            labels += [IGNORED, *tokens[1:]]
        return {"input_ids": ids, "position_ids": positions, "labels": labels}

    def rows_of(self, num_blocks: int) -> set[str]:
        """Return the rows of which the first `num_blocks` blocks hold the end."""
        return {
            piece.row_id
            for block in self.blocks[:num_blocks]
            for piece in block
            if piece.end == len(self._tokens[piece.row_id])
        }


def cut_blocks(documents: Sequence[tuple[str, int]], length: int) -> list[list[Piece]]:
    """Fill blocks of `length` tokens with documents (id, number of tokens) in order; only the last may be shorter."""
    blocks: list[list[Piece]] = []
    room = 0
    for row, size in documents:
        start = 0
        while start < size:
            if room == 0:
                blocks.append([])
                room = length
            end = min(size, start + room)
            blocks[-1].append(Piece(row, start, end))
            room -= end - start
            start = end
    return blocks


def collate(blocks: Sequence[dict[str, Any]], pad: int) -> dict[str, torch.Tensor]:
    """Stack blocks, padding on the right; there is no attention mask, since causal tokens never see what comes after.

    Without a mask transformers keeps packed documents apart by their restarting positions.
    """
    width = max(len(block["input_ids"]) for block in blocks)
    fill = {"input_ids": pad, "position_ids": 0, "labels": IGNORED}
    return {
        name: torch.tensor([block[name] + [value] * (width - len(block[name])) for block in blocks])
        for name, value in fill.items()
    }
