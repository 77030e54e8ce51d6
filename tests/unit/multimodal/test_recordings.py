"""Recordings as rows: what is masked in a transcript, and what stays as it was heard."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from catalog.schema import Reason
from catalog.settings import Config
from multimodal.audio import SAMPLE_RATE
from multimodal.clips import Clip
from multimodal.decode import Reject
from multimodal.job import transcribe_settings
from multimodal.recordings import GROUP_SECONDS, Origin, Result, masked, pcm_sha256, transcribe_rows
from multimodal.transcriber import Transcript

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
    [{"start": 20.0, "end": 21.0, "text": " Write to jane@example.org", "reason": "no_voice"}],
)
TEXTS = [" Call me at [PHONE].", " My card is [CARD]", " and my mail [EMAIL].", " The river has 1200 frogs."]


class Scripted:
    """Finds one clip of `speech` seconds in every recording, and hears HEARD in each; notes what came together."""

    num_threads = 2

    def __init__(self, speech: float = 1.0) -> None:
        self._speech = speech
        self.groups: list[int] = []

    def find_speech(self, samples: NDArray[np.float32]) -> list[Clip]:
        silence = np.broadcast_to(np.float32(0), (int(self._speech * SAMPLE_RATE),))
        return [Clip(0.0, silence, ((0.0, self._speech),))]

    def __call__(self, recordings: Sequence[Sequence[Clip]]) -> list[Transcript]:
        self.groups.append(len(recordings))
        return [HEARD for _ in recordings]


ORIGIN = Origin("none", "none", "none")
SECOND = np.zeros(SAMPLE_RATE, np.float32)


def hear(kinds: tuple[str, ...]) -> dict[str, Any]:
    (result,) = transcribe_rows([{"media_id": "m"}], Scripted(), ORIGIN, lambda row: SECOND, kinds)
    assert isinstance(result, Result)
    return result.transcript


def test_personal_data_is_masked_in_text_segments_and_words_and_every_time_stays() -> None:
    row, raw = hear(KINDS), hear(())
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
    assert {name for name in row if row[name] != raw[name]} == {"text", "segments", "dropped"}
    assert row["dropped"] == [HEARD.dropped[0] | {"text": " Write to [EMAIL]"}]


def test_a_transcript_without_words_or_speech_is_masked_too() -> None:
    bare = [item | {"words": []} for item in HEARD.segments]
    assert [item["text"] for item in masked(whole(HEARD.text, bare), KINDS)["segments"]] == TEXTS
    assert masked(whole("", []), KINDS) == whole("", [])


def whole(text: str, segments: list[dict[str, Any]]) -> dict[str, Any]:
    return {"text": text, "segments": segments, "dropped": []}


def test_a_file_that_is_turned_away_costs_no_other_and_the_order_stays() -> None:
    reject = Reject(Reason.DECODE_ERROR, "broken")
    media = [{"media_id": str(number)} for number in range(9)]
    results = transcribe_rows(media, Scripted(), ORIGIN, lambda row: reject if int(row["media_id"]) % 3 else SECOND)
    assert [item is reject for item in results] == [number % 3 != 0 for number in range(9)]
    assert [item.transcript["media_id"] for item in results if isinstance(item, Result)] == ["0", "3", "6"]


@pytest.mark.parametrize("speech", [100.0, 700.0, 2000.0])
def test_speech_that_waits_for_the_model_is_bounded(speech: float) -> None:
    transcribe = Scripted(speech)
    transcribe_rows([{"media_id": str(number)} for number in range(13)], transcribe, ORIGIN, lambda row: SECOND)
    most = max(1, -(-GROUP_SECONDS // speech))
    assert sum(transcribe.groups) == 13
    assert transcribe.groups[:-1] == [most] * (len(transcribe.groups) - 1)


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
