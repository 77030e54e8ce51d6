"""Recordings as rows: what is masked in a transcript, and what stays as it was heard."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.settings import Config
from multimodal.job import transcribe_settings
from multimodal.recordings import Origin, masked, pcm_sha256, transcribe_rows
from multimodal.settings import TranscribeSettings
from multimodal.speech import Transcript

KINDS = ("email", "phone", "card")
NUMBERS = ("start", "end", "avg_logprob", "no_speech_prob", "compression_ratio")


def segment(start: float, *words: str) -> dict[str, Any]:
    """Return a segment whose words take half a second each."""
    rows = [
        {"word": word, "start": start + index / 2, "end": start + index / 2 + 0.5, "probability": 0.9}
        for index, word in enumerate(words)
    ]
    scores = {"avg_logprob": -0.2, "no_speech_prob": 0.01, "compression_ratio": 1.2}
    return {"start": start, "end": start + len(words) / 2, "text": "".join(words), "words": rows} | scores


HEARD = Transcript(
    "en",
    0.99,
    [
        segment(0.0, " Call", " me", " at", " 212-736-", "5000", "."),
        segment(3.0, " My", " card", " is", " 4111", " 1111"),
        segment(6.0, "1111", " 1111", " and", " my", " mail", " jane", "@example", ".org."),
        segment(12.0, " The", " river", " has", " 1200", " frogs."),
    ],
)
TEXTS = [" Call me at [PHONE].", " My card is [CARD]", " and my mail [EMAIL].", " The river has 1200 frogs."]


def hear(site: Path, kinds: tuple[str, ...]) -> dict[str, Any]:
    def transcribe(samples: NDArray[np.float32]) -> Transcript:
        return HEARD

    payload = (site / "audio" / "frogs.ogg").read_bytes()
    origin = Origin("none", "none", "none")
    (row,) = transcribe_rows(
        [{"media_id": "m"}], [transcribe], TranscribeSettings(), origin, lambda row, most: payload, kinds
    )
    assert isinstance(row, dict)
    return row


def test_personal_data_is_masked_in_text_segments_and_words_and_every_time_stays(site: Path) -> None:
    row, raw = hear(site, KINDS), hear(site, ())
    assert raw["segments"] == HEARD.segments
    assert raw["text"] == HEARD.text
    assert [item["text"] for item in row["segments"]] == TEXTS
    assert row["text"] == "Call me at [PHONE]. My card is [CARD] and my mail [EMAIL]. The river has 1200 frogs."
    assert [word["word"] for word in row["segments"][0]["words"]] == [" Call", " me", " at", " [PHONE]", "", "."]
    for found, before in zip(row["segments"], HEARD.segments, strict=True):
        assert "".join(word["word"] for word in found["words"]) == found["text"]
        assert [found[name] for name in NUMBERS] == [before[name] for name in NUMBERS]
        times = [
            [(word["start"], word["end"], word["probability"]) for word in one["words"]] for one in (found, before)
        ]
        assert times[0] == times[1]
    assert {name for name in row if row[name] != raw[name]} == {"text", "segments"}


def test_a_transcript_without_words_or_speech_is_masked_too(site: Path) -> None:
    bare = [item | {"words": []} for item in HEARD.segments]
    assert [item["text"] for item in masked({"text": HEARD.text, "segments": bare}, KINDS)["segments"]] == TEXTS
    assert masked({"text": "", "segments": []}, KINDS) == {"text": "", "segments": []}


def test_the_kinds_are_those_of_the_cleaning_rules_and_part_of_the_recipe() -> None:
    settings = [{}, {"mask_pii": False}, {"pii_kinds": ["ip"]}]
    found = [transcribe_settings(Config({"cleaning_rules": rules}))["masked_kinds"] for rules in settings]
    assert found == [["card", "cn_id", "email", "passport", "phone"], [], ["ip"]]
    recipes = [transcribe_settings(Config(given)) for given in ({}, {"cleaning_rules": {"filter_stopwords": False}})]
    assert recipes[0] == recipes[1]


def test_the_hash_of_sound_is_that_of_its_16_bit_samples() -> None:
    pcm = np.array([-32768, -1, 0, 1, 16_384, 32_767], "<i2")
    assert pcm_sha256(pcm.astype(np.float32) / 32768) == hashlib.sha256(pcm.tobytes()).hexdigest()
    assert pcm_sha256(np.ones(1, np.float32)) == hashlib.sha256(b"\xff\x7f").hexdigest()  # no sample overflows
