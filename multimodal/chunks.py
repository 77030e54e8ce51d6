"""Model work in parallel with bit-identical results: fixed chunks, one torch thread each, many chunks at once.

Vectors depend in their last bits on the batch they were computed in and on torch's thread count, so neither may follow
the resources: a chunk always holds the same rows, one thread computes it, and more CPUs mean more chunks at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_chunks(
    function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], size: int, threads: int
) -> list[Result]:
    """Apply `function` to consecutive chunks of `size` items on `threads` threads; return its results in order."""
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with one_torch_thread(), ThreadPoolExecutor(threads) as pool:
        return [result for results in pool.map(function, chunks) for result in results]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let torch compute on the calling thread alone, and on each thread started meanwhile; restore the count after."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
