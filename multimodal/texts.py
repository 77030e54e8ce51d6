"""Documents become sentence vectors."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from multimodal.chunks import map_chunks

Row: TypeAlias = dict[str, Any]
CHUNK = 32  # texts a model call; part of the result, see multimodal.chunks


class TextEncoder(Protocol):
    """What this module needs of a sentence model."""

    model: str
    revision: str

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts as one batch."""


def embed_texts(documents: Sequence[Row], encoder: TextEncoder, threads: int) -> list[Row]:
    """Return a `text_features` row for each document (document_id, text), in order; a long text is cut by the model."""
    # Texts of like length share a chunk, so that little is padded; ids break ties, so that chunks never vary.
    order = sorted(range(len(documents)), key=lambda i: (len(documents[i]["text"]), documents[i]["document_id"]))
    texts = [documents[index]["text"] for index in order]
    vectors = map_chunks(lambda chunk: list(encoder.encode_text(chunk)), texts, CHUNK, threads)
    by_index = dict(zip(order, vectors, strict=True))
    return [
        {
            "document_id": row["document_id"],
            "vector": by_index[index],
            "model": encoder.model,
            "revision": encoder.revision,
        }
        for index, row in enumerate(documents)
    ]
