"""Near-duplicate text, pure: token codes, shingles, MinHash band keys, exact Jaccard, and what tells a template's pages
apart (Broder 1997, "On the resemblance and containment of documents")."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

Codes: TypeAlias = NDArray[np.uint32]
Hashes: TypeAlias = NDArray[np.uint64]
Offsets: TypeAlias = NDArray[np.int64]

SEED = 42
HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # written without spaces: each character is a token
TOKEN = re.compile(rf"[{HAN}\U00020000-\U0003ffff]|[^\W_{HAN}\U00020000-\U0003ffff]+")
ASCII_TOKEN = re.compile(r"[A-Za-z0-9]+")
IS_HAN, NAMED, NUMERAL = np.uint32(1), np.uint32(2), np.uint32(4)  # the lowest bits of a code, below its 29-bit hash
FLAGS = 3
MIXERS = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F))
OWNER = np.uint64(44)  # bits of a shingle's hash that are compared, below the number of its text
SIGNED = 1000  # texts signed at once: their signatures are Python lists for a moment
VOCABULARY = 500_000  # words remembered with their codes: about 60 MB


class _Vocabulary(dict[str, int]):
    """Word → code; forgets everything when full, so that memory stays flat."""

    def __missing__(self, word: str) -> int:
        if len(self) >= VOCABULARY:
            self.clear()
        digest = blake2b(word.lower().encode("utf-8", "surrogatepass"), digest_size=4).digest()
        code = int.from_bytes(digest, "little") >> FLAGS << FLAGS
        code |= int(IS_HAN) * (len(word) == 1 and TOKEN.match(word) is not None and word[0] >= "\u3040")
        code |= int(NAMED) * word[0].isupper() | int(NUMERAL) * any(map(str.isnumeric, word))
        self[word] = code
        return code


_codes = _Vocabulary()


def tokenize(text: str) -> Codes:
    """Return a text's tokens [n] in order: words, Chinese and Japanese by character; case and punctuation do not count.

    A code is a 29-bit hash above three flags: IS_HAN, NAMED (it begins with a capital) and NUMERAL.
    """
    words = (ASCII_TOKEN if text.isascii() else TOKEN).findall(text)
    return np.fromiter(map(_codes.__getitem__, words), np.uint32, len(words))


@dataclass(frozen=True)
class Recipe:
    """What band keys depend on."""

    num_bands: int
    rows_per_band: int
    shingle_words: int
    shingle_chars: int

    def sizes(self, flat: Codes, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens make a shingle of each text (given as one row): its own number where most are Han."""
        han = np.concatenate([[0], np.cumsum(flat & IS_HAN, dtype=np.int64)])
        ends = np.cumsum(lengths)
        return np.where(2 * (han[ends] - han[ends - lengths]) > lengths, self.shingle_chars, self.shingle_words)


def _windows(codes: Codes, size: int) -> Hashes:
    """Return the hash of each run of `size` tokens."""
    if len(codes) < size:
        return np.empty(0, np.uint64)
    words = (codes >> FLAGS).astype(np.uint64)
    hashes = words[: len(words) - size + 1].copy()
    for shift in range(1, size):
        hashes *= MIXERS[0]
        hashes ^= hashes >> np.uint64(29)
        hashes += words[shift : len(words) - size + 1 + shift]
    hashes *= MIXERS[1]
    hashes ^= hashes >> np.uint64(32)
    return hashes


def band_keys(texts: Sequence[Codes], recipe: Recipe) -> Codes:
    """Return the 32-bit keys [texts, bands] of each text's MinHash bands; two texts that share one are candidates.

    No text may be shorter than a shingle.
    """
    parts = [_band_keys(texts[start : start + SIGNED], recipe) for start in range(0, len(texts), SIGNED)]
    return np.concatenate([np.empty((0, recipe.num_bands), np.uint32), *parts])


def _band_keys(texts: Sequence[Codes], recipe: Recipe) -> Codes:
    rows = recipe.rows_per_band
    hashes, offsets = _flat(texts, recipe)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, recipe.num_bands * rows, SEED)
    signatures = np.array(matrix.to_rows(), np.uint64).reshape(len(texts), recipe.num_bands, rows)
    keys = np.zeros(signatures.shape[:2], np.uint64)
    for row in range(rows):
        keys += signatures[:, :, row]
        keys *= MIXERS[0]
        keys ^= keys >> np.uint64(31)
    return (keys >> np.uint64(32)).astype(np.uint32)


def _flat(texts: Sequence[Codes], recipe: Recipe) -> tuple[Hashes, Hashes]:
    """Return the shingles of all texts in a row, and where each text's begin; a text shorter than one has none."""
    lengths = np.array([len(codes) for codes in texts], np.int64)
    ends = np.cumsum(lengths)
    flat = np.concatenate(texts) if len(texts) else np.empty(0, np.uint32)
    sizes = recipe.sizes(flat, lengths)
    last = np.repeat(ends - sizes, lengths)  # where the last shingle of each token's text begins
    pieces = {size: _windows(flat, int(size)) for size in np.unique(sizes)}
    of_token = np.repeat(sizes, lengths)
    chosen = np.zeros(len(flat), np.uint64)
    for size, windows in pieces.items():
        ours = of_token[: len(windows)] == size
        chosen[: len(windows)][ours] = windows[ours]
    offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths - sizes + 1, 0))]).astype(np.uint64)
    return chosen[np.arange(len(flat)) <= last], offsets


def jaccard(texts: Sequence[Codes], pairs: NDArray[np.int64], recipe: Recipe) -> NDArray[np.float64]:
    """Return the exact Jaccard similarity of the sets of shingles of each pair [n, 2] of these (at most 2^20) texts."""
    hashes, offsets = _flat(texts, recipe)
    of = np.repeat(np.arange(len(texts), dtype=np.uint64), (offsets[1:] - offsets[:-1]).astype(np.int64))
    keys = np.sort(of << OWNER | hashes >> (np.uint64(64) - OWNER))
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
    sizes = np.bincount((keys >> OWNER).astype(np.int64), minlength=len(texts))
    one, other = pairs.T
    lengths = sizes[other]
    ends = np.cumsum(lengths)
    places = np.repeat(np.cumsum(sizes)[other] - ends, lengths) + np.arange(lengths.sum())
    wanted = np.repeat(one.astype(np.uint64) << OWNER, lengths) | (
        keys[places] & ((np.uint64(1) << OWNER) - np.uint64(1))
    )
    hits = np.concatenate([[0], np.cumsum(contained(wanted, keys))])
    common = hits[ends] - hits[ends - lengths]
    return np.asarray(common / np.maximum(sizes[one] + lengths - common, 1), np.float64)


def contained(wanted: Hashes, held: Hashes) -> NDArray[np.bool_]:
    """Return which values are among others, which are sorted."""
    if not len(held):
        return np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    return np.equal(held[places], wanted, dtype=np.bool_)
