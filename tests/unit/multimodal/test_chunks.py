"""Fixed chunks in parallel."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multimodal.chunks import map_chunks, one_torch_thread


@given(items=st.lists(st.integers(), max_size=40), size=st.integers(1, 7), threads=st.integers(1, 4))
def test_results_keep_their_order(items: list[int], size: int, threads: int) -> None:
    assert map_chunks(lambda chunk: [item * 2 for item in chunk], items, size, threads) == [item * 2 for item in items]


@given(num=st.integers(0, 40), size=st.integers(1, 7))
def test_a_chunk_holds_the_same_items_at_any_number_of_threads(num: int, size: int) -> None:
    def seen(threads: int) -> list[tuple[int, ...]]:
        return map_chunks(lambda chunk: [tuple(chunk)], list(range(num)), size, threads)

    assert seen(1) == seen(3)


def test_every_thread_computes_alone_and_the_count_comes_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    both_started = threading.Barrier(2, timeout=30)

    def counted(chunk: object) -> list[int]:
        both_started.wait()
        return [torch.get_num_threads()]

    try:
        assert map_chunks(counted, [0, 1], 1, 2) == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_count_comes_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_torch_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == before
