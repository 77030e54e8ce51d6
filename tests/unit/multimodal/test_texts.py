"""Documents become sentence vectors."""

import numpy as np

from multimodal.encoders import SentenceEncoder
from multimodal.texts import CHUNK, embed_texts


def documents(num: int) -> list[dict[str, str]]:
    words = ["river", "mountain", "sea", "town", "bridge", "winter", "harvest", "letter", "music", "clock"]
    return [
        {"document_id": f"{k:03}", "text": " ".join(words[(k * 7 + n) % len(words)] for n in range(1 + k * 5 % 23))}
        for k in range(num)
    ]


def test_rows_come_in_order_and_bit_identical_at_any_number_of_threads(sentences: SentenceEncoder) -> None:
    texts = documents(2 * CHUNK + 3)
    one, three = embed_texts(texts, sentences, 1), embed_texts(texts, sentences, 3)
    assert [row["document_id"] for row in one] == [row["document_id"] for row in texts]
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a["vector"], b["vector"])
    alone = sentences.encode_text([texts[5]["text"]])[0]
    np.testing.assert_allclose(one[5]["vector"], alone, atol=1e-5)


def test_a_row_names_its_model(sentences: SentenceEncoder) -> None:
    (row,) = embed_texts([{"document_id": "d", "text": "水 and words " * 2000}], sentences, 1)
    assert (row["document_id"], row["model"], row["revision"]) == ("d", sentences.model, sentences.revision)
    assert row["vector"].shape == (384,)
    assert embed_texts([], sentences, 1) == []
