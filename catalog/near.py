"""Near-duplicate documents: candidates from the band index, verified by exact Jaccard similarity."""

import shutil
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from rensa import RMinHash

from catalog.bands import BandIndex, Numbers, folder_of
from catalog.lookalikes import other_things
from catalog.minhash import Recipe, jaccard
from catalog.settings import DedupSettings

Table: TypeAlias = Literal["documents", "transcripts"]
TOKENS = 500_000  # of pairs that are compared at once


def recipe(settings: DedupSettings) -> Recipe:
    """Return what the band keys depend on."""
    return Recipe(settings.num_bands, settings.rows_per_band, settings.shingle_words, settings.shingle_chars)


def version() -> int:
    """Return the version of the MinHash algorithm, which changes decisions."""
    return int(RMinHash.ALGORITHM_VERSION)


def open_index(root: Path, settings: DedupSettings, table: Table = "documents") -> BandIndex:
    """Return a home's band index of a table for these settings; it holds nothing before its first refresh."""
    return BandIndex(root, recipe(settings), settings.languages if table == "documents" else (), table)


def forget(root: Path, settings: DedupSettings, ids: Collection[str]) -> int:
    """Take records out of the band indexes of these settings, and remove those of other settings; return how many."""
    indexes = [open_index(root, settings, table) for table in get_args(Table)]
    for folder in folder_of(root).glob("*"):
        if folder.is_dir() and folder not in [index.folder for index in indexes]:
            shutil.rmtree(folder)
    return sum(index.forget(ids) for index in indexes if index.folder.is_dir())


def search(
    index: BandIndex, records: Collection[tuple[str, str]], settings: DedupSettings
) -> tuple[dict[str, dict[str, float]], pa.Table]:
    """Find the near-duplicates of some (document, batch) pairs, or (recording, batch of its transcript) pairs.

    Returns the scores of near-duplicate texts, both ways, by text hash, and the rows of all documents that were found.
    """
    numbers = _numbers(index, records)
    found = _verified(index, numbers, settings)
    met = np.unique(np.array(list(found), np.int64).reshape(-1))
    rows = index.rows(met)
    texts = dict(zip(met.tolist(), rows["text_sha256"].to_pylist(), strict=True))
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for (one, other), score in found.items():
        if texts[one] != texts[other]:
            scores[texts[one]][texts[other]] = scores[texts[other]][texts[one]] = score
    return scores, rows


def _numbers(index: BandIndex, records: Collection[tuple[str, str]]) -> Numbers:
    """Return the numbers of documents; those that are not compared (too short, another language) have none."""
    numbers = index.numbers({batch for _, batch in records})
    rows = index.rows(numbers, ["document_id", "batch_id"])
    held = zip(rows["document_id"].to_pylist(), rows["batch_id"].to_pylist(), strict=True)
    return numbers[np.array([record in records for record in held], np.bool_)]


def _verified(index: BandIndex, numbers: Numbers, settings: DedupSettings) -> dict[tuple[int, int], float]:
    """Return the pairs of these documents and others that are near-duplicates, with their similarity."""
    made = recipe(settings)
    found: dict[tuple[int, int], float] = {}
    for pairs in _candidates(index, numbers):
        met, places = np.unique(pairs, return_inverse=True)
        places = places.reshape(pairs.shape)
        texts = index.texts(met)
        scores = jaccard([text.codes for text in texts], places, made)
        alike = scores >= settings.threshold
        if settings.keep_lookalikes:
            alike[alike] = ~other_things([(texts[one], texts[other]) for one, other in places[alike].tolist()])
        found |= zip(map(tuple, pairs[alike].tolist()), scores[alike].tolist(), strict=True)
        index.release()
    return found


def _candidates(index: BandIndex, numbers: Numbers) -> Iterator[Numbers]:
    """Yield pairs [n, 2] to compare, each pair once, a bounded number of tokens at a time."""
    for pairs in index.pairs(numbers):
        new = pairs[(pairs[:, 0] < pairs[:, 1]) | ~np.isin(pairs[:, 1], numbers)]
        tokens = np.cumsum(index.num_tokens(new.reshape(-1)).reshape(-1, 2).sum(axis=1))
        yield from (part for part in np.split(new, np.flatnonzero(np.diff(tokens // TOKENS)) + 1) if len(part))
