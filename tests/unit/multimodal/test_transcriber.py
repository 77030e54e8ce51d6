"""The rules of transcribing many recordings, with an engine whose answers are written down."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from multimodal.audio import SAMPLE_RATE
from multimodal.clips import Clip
from multimodal.engines import Decoding, Floats, Row, Samples, Sound, cut_at_timestamps
from multimodal.settings import TranscribeSettings
from multimodal.transcriber import Transcriber, Transcript

BEGIN = 1000  # token of the timestamp 0.00


class Words:
    """A tokenizer whose tokens are the words of a list."""

    timestamp_begin, eot = BEGIN, 900

    def __init__(self) -> None:
        self._words: list[str] = []

    def encode(self, text: str) -> list[int]:
        self._words += text.split()
        return list(range(len(self._words) - len(text.split()), len(self._words)))

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f" {self._words[token]}" for token in tokens)


class Scripted:
    """Hears the first answer (text, log probability, no-speech probability), and the next at each further try.

    Its states are what was encoded: each frame of a clip's spectrogram is the clip's first sample.
    """

    def __init__(self, *answers: tuple[str, float, float], multilingual: bool = False) -> None:
        self.is_multilingual = multilingual
        self._answers = answers
        self._words = Words()
        self.encoded: list[set[float]] = []
        self.windows: list[Floats] = []
        self.languages: list[str] = []

    def spectrogram(self, samples: Samples, frames: int) -> Floats:
        return np.full((2, frames), samples[0] if len(samples) else 0, np.float32)

    def encode(self, spectrograms: Floats) -> Floats:
        self.encoded += [set(np.unique(window).tolist()) for window in spectrograms]
        return np.moveaxis(spectrograms[:, :, ::2], 1, 2)

    def hear_language(self, states: Floats) -> tuple[str, float]:
        return ("zh", 0.8) if states[0, 0] == 1 else ("en", 0.9)

    def decode(self, sound: Sound, language: str, beam_size: int) -> Sequence[Decoding]:
        self.windows += list(sound.windows())
        self.languages += [language] * len(sound.states)
        return [self._decoding(0, start) for start in sound.starts or [0] * len(sound.states)]

    def retries(self, states: Floats, language: str, seed: int) -> Iterator[Decoding]:
        for number in range(1, len(self._answers)):
            yield self._decoding(number, 0)

    def _decoding(self, number: int, start: int) -> Decoding:
        text, logprob, no_speech = self._answers[number]
        return Decoding([BEGIN + start, *self._words.encode(text), BEGIN + start + 50], logprob, no_speech)

    def tokenizer(self, language: str) -> Any:
        return self._words

    def time_words(self, sound: Sound, num_frames: int, language: str, segments: list[Row]) -> None:
        for row in segments:
            row["words"] = [{"word": row["text"], "start": row["start"], "end": row["end"], "probability": 0.5}]


def clip(mark: float, seconds: float = 2.0, start: float = 10.0, speech: float | None = None) -> Clip:
    return Clip(start, np.full(int(seconds * SAMPLE_RATE), mark, np.float32), ((start, start + (speech or seconds)),))


def hear(engine: Scripted, *recordings: list[Clip], **settings: Any) -> list[Transcript]:
    return Transcriber([engine], [], TranscribeSettings(**settings))(recordings)


CLEAR = ("all is well", -0.2, 0.0)


def test_each_clip_of_a_shared_window_is_decoded_as_if_the_others_were_silent() -> None:
    engine = Scripted(CLEAR)
    heard = hear(engine, [clip(1)], [clip(2)], [], [clip(3), clip(4, start=50)])
    assert [found.text for found in heard] == ["all is well"] * 2 + ["", "all is well all is well"]
    marks = [set(np.unique(window)) - {np.float32(-0.8)} for window in engine.windows]
    assert sorted(marks, key=min) == [{1}, {2}, {3}, {4}]
    assert [row["start"] for row in heard[3].segments] == [10, 50]
    assert heard[0].segments[0]["no_speech_prob"] is None  # it tells how silent the others were made
    alone = Scripted(CLEAR)
    assert hear(alone, [clip(1)])[0].segments[0]["no_speech_prob"] == 0
    assert [window.shape for window in [*engine.windows, *alone.windows]] == [(1500, 2)] * 5  # always a whole window


def test_recordings_share_windows_unless_one_says_not() -> None:
    recordings = [clip(1)], [clip(2)], [], [clip(3), clip(4, start=50)]
    for shared, windows in ((True, [{1, 2, 3, 4}]), (False, [{1}, {2}, {3, 4}])):
        engine = Scripted(CLEAR)
        heard = hear(engine, *recordings, share_windows=shared)
        assert [found.text for found in heard] == ["all is well"] * 2 + ["", "all is well all is well"]
        assert [window for window in engine.encoded if max(window) > 0] == windows  # beside one of silence


@pytest.mark.parametrize(
    ("answers", "text", "dropped"),
    [
        ([("mumble", -2, 0.1), CLEAR], "all is well", []),
        ([("mumble", -2, 0.1), ("murmur", -1.5, 0.1), ("grunt", -1.8, 0.1)], "murmur", []),  # the best that there is
        ([("no " * 40, -0.1, 0.1), ("mumble", -2, 0.1)], "mumble", []),
        ([("no " * 40, -0.1, 0.1), ("so " * 40, -0.2, 0.1)], "", ["repetition"]),
        ([("thanks for watching", -1.3, 0.9)] * 2, "", ["no_speech"]),
    ],
)
def test_what_is_doubtful_is_heard_again_and_dropped_with_a_reason_if_nothing_helps(
    answers: list[tuple[str, float, float]], text: str, dropped: list[str]
) -> None:
    (found,) = hear(Scripted(*answers), [clip(1)])
    assert (found.text, [row["reason"] for row in found.dropped]) == (text, dropped)


def test_a_clip_that_shares_a_window_and_says_all_twice_gets_one_of_its_own() -> None:
    engine = Scripted(("press one press one", -0.2, 0.0), CLEAR)
    found = hear(engine, [clip(1)], [clip(2)])
    assert [item.text for item in found] == ["press one press one"] * 2  # heard alone, that is what was said
    assert {tuple(np.unique(window)) for window in engine.windows[2:]} == {(1.0,), (2.0,)}


def test_words_where_the_voice_detector_hears_nobody_are_dropped() -> None:
    late = Clip(10.0, np.ones(4 * SAMPLE_RATE, np.float32), ((12.0, 14.0),))
    (found,) = hear(Scripted(CLEAR), [late])
    assert (found.text, found.segments) == ("", [])
    assert found.dropped == [{"start": 10.0, "end": 11.0, "text": " all is well", "reason": "no_voice"}]


def test_what_is_said_after_a_decoding_stopped_is_heard_again_by_itself() -> None:
    spans = ((10.0, 10.9), (12.5, 13.5))
    engine = Scripted(CLEAR)  # each decoding is of one second
    (found,) = hear(engine, [Clip(10.0, np.ones(4 * SAMPLE_RATE, np.float32), spans)], states=True)
    assert [(row["start"], row["end"]) for row in found.segments] == [(10.0, 11.0), (pytest.approx(12.3), 13.3)]
    assert found.text == "all is well all is well"
    assert found.states is not None
    assert len(found.states) == 25  # 4 seconds, once
    rough = Scripted(CLEAR)  # one second of two within one utterance: times are rough
    assert len(hear(rough, [clip(1)])[0].segments) == 1
    stuck = Scripted(CLEAR)
    (found,) = hear(stuck, [clip(1, seconds=20)], [])[:1]
    assert [row["start"] for row in found.segments] == [10, 11, 12, 13]  # three times more, no further
    assert hear(Scripted(("", -0.2, 0.0)), [clip(1, seconds=20)])[0].segments == []


def test_a_model_of_many_languages_hears_each_recordings_first_clip_in_a_window_of_its_own() -> None:
    engine = Scripted(CLEAR, multilingual=True)
    first, second = hear(engine, [clip(1), clip(3, start=50)], [clip(2)])
    assert [(item.language, item.language_probability) for item in (first, second)] == [("zh", 0.8), ("en", 0.9)]
    assert sorted(engine.languages) == ["en", "zh", "zh"]
    told = Scripted(CLEAR, multilingual=True)
    assert [item.language for item in hear(told, [clip(1)], [clip(2)], language="de")] == ["de", "de"]
    assert len({tuple(np.unique(window)) for window in told.windows}) == 2  # packed: the language is known


def test_states_are_averaged_eight_at_a_time_with_the_second_each_begins_at() -> None:
    (found, nobody) = hear(Scripted(CLEAR), [clip(1, seconds=0.5), clip(2, seconds=1.0, start=20)], [], states=True)
    assert found.states is not None and found.states.dtype == np.float16
    assert found.states.tolist() == [[1, 1]] * 4 + [[2, 2]] * 7
    np.testing.assert_allclose(found.starts, [10, 10.16, 10.32, 10.48, *(20 + 0.16 * row for row in range(7))])
    assert nobody.states is None
    assert hear(Scripted(CLEAR), [clip(1)])[0].states is None


def test_timestamps_cut_what_was_heard_into_segments_within_the_clip() -> None:
    words = Words()
    tokens = [BEGIN + 100, *words.encode("one two"), BEGIN + 150, BEGIN + 150, *words.encode("three"), BEGIN + 900]
    rows = cut_at_timestamps(Decoding(tokens, -0.1, 0.0), words, 100, 300)
    assert [(row["start"], row["end"], row["text"]) for row in rows] == [(0, 1, " one two"), (1, 3, " three")]
    assert cut_at_timestamps(Decoding(words.encode("four"), -0.1, 0.0), words, 0, 300)[0]["end"] == 3
