"""Packing keeps every token once, in order, and documents apart."""

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import resolve
from trainer.model import load_model
from trainer.packing import IGNORED, PackedDataset, collate, cut_blocks

DOCUMENTS = st.lists(st.integers(1, 40), max_size=12)


@given(DOCUMENTS, st.integers(1, 17))
def test_blocks_hold_every_token_once_and_are_full_but_for_the_last(sizes: list[int], length: int) -> None:
    blocks = cut_blocks([(str(k), size) for k, size in enumerate(sizes)], length)
    seen = [(piece.row_id, at) for block in blocks for piece in block for at in range(piece.start, piece.end)]
    assert seen == [(str(k), at) for k, size in enumerate(sizes) for at in range(size)]
    filled = [sum(piece.end - piece.start for piece in block) for block in blocks]
    assert all(count == length for count in filled[:-1])
    assert all(0 < count <= length for count in filled)


def test_a_block_restarts_positions_and_never_predicts_a_piece_s_first_token() -> None:
    data = PackedDataset([["a", "b"]], {"a": [1, 2, 3], "b": [4, 5]}, length=4)
    assert [data[k] for k in range(len(data))] == [
        {"input_ids": [1, 2, 3, 4], "position_ids": [0, 1, 2, 0], "labels": [IGNORED, 2, 3, IGNORED]},
        {"input_ids": [5], "position_ids": [0], "labels": [IGNORED]},
    ]


def test_epochs_start_new_blocks_and_rows_count_when_their_end_was_seen() -> None:
    data = PackedDataset([["a", "b"], ["b", "a"]], {"a": [1, 2, 3], "b": [4, 5]}, length=4)
    assert data.first_of_epoch == [0, 2]
    assert [data.rows_of(k) for k in range(3)] == [set(), {"a"}, {"a", "b"}]


def test_collate_pads_on_the_right_without_loss() -> None:
    data = PackedDataset([["a", "b"]], {"a": [1, 2, 3], "b": [4, 5]}, length=4)
    batch = collate([data[0], data[1]], pad=9)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4], [5, 9, 9, 9]]
    assert batch["labels"].tolist() == [[IGNORED, 2, 3, IGNORED], [IGNORED] * 4]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]


def test_packed_documents_do_not_see_each_other(tiny_lm: Path) -> None:
    """The logits of a document are the same alone, packed behind another, and padded."""
    model = load_model(resolve("lm", str(tiny_lm)))
    model.model.eval()
    first, second = model.encode("tea leaves in water"), model.encode("black stone and ash of lava")
    data = PackedDataset([["a", "b"]], {"a": first, "b": second}, length=64)
    batch = collate([data[0], data[0]], model.end)
    del batch["labels"]
    with torch.no_grad():
        packed = model.model(**batch, use_cache=False).logits[0, len(first) :]
        alone = model.model(torch.tensor([second])).logits[0]
        joined = model.model(torch.tensor([[*first, *second]])).logits[0, len(first) :]
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(joined, alone, atol=1e-3)
