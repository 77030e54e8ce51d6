"""Speech: real voice detection and Whisper, and the rules around them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalog.errors import ConfigError, ModelUnavailable
from catalog.models import Weights
from multimodal.audio import SAMPLE_RATE, decode_audio
from multimodal.backends import choose_backend
from multimodal.settings import TranscribeSettings
from multimodal.speech import (
    GAP,
    PAD,
    WINDOW,
    Transcriber,
    Transcript,
    VoiceDetector,
    is_doubtful,
    join_spans,
    load_transcribers,
    mean_logprob,
    overlaps,
)

Load = Callable[[str], Transcriber]


@pytest.fixture(scope="session")
def load(whisper_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Load:
    loaded: dict[str, Transcriber] = {}

    def get(backend: str) -> Transcriber:
        if backend == "faster-whisper":
            pytest.importorskip("faster_whisper", reason="needs headrace[fast-asr]")
        if backend not in loaded:
            settings = TranscribeSettings.parse({"backend": backend}, "test")
            loaded[backend] = load_transcribers(whisper_weights, settings, "cpu", 1)[0]
        return loaded[backend]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield get


@pytest.fixture(scope="session")
def frogs(site: Path) -> NDArray[np.float32]:
    """ "Clean water is very important to frogs …", 5.9 s."""
    samples = decode_audio((site / "audio" / "frogs.ogg").read_bytes())
    assert isinstance(samples, np.ndarray)
    return samples


BACKENDS = pytest.mark.parametrize("backend", ["whisper", "faster-whisper"])


@BACKENDS
def test_words_are_heard_with_times_inside_the_recording(backend: str, load: Load, frogs: NDArray[np.float32]) -> None:
    heard = load(backend)(frogs)
    assert "water is very important to frogs" in heard.text.lower()
    assert (heard.language, heard.language_probability) == ("en", None)  # a model for one language does not guess
    words = [word for row in heard.segments for word in row["words"]]
    assert [word["word"].strip(" ,.").lower() for word in words][:4] == ["clean", "water", "is", "very"]
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= len(frogs) / SAMPLE_RATE + 0.5
    assert all(0 <= word["probability"] <= 1 for word in words)
    assert all({"avg_logprob", "no_speech_prob", "compression_ratio"} <= row.keys() for row in heard.segments)


@BACKENDS
def test_times_count_from_the_start_of_the_recording(backend: str, load: Load, frogs: NDArray[np.float32]) -> None:
    early = load(backend)(frogs)
    late = load(backend)(np.concatenate([np.zeros(40 * SAMPLE_RATE, np.float32), frogs]))
    assert late.text.split()[1:4] == early.text.split()[1:4]
    assert late.segments[0]["start"] - early.segments[0]["start"] == pytest.approx(40, abs=0.6)
    assert late.segments[0]["words"][3]["start"] == pytest.approx(early.segments[0]["words"][3]["start"] + 40, abs=0.6)


@BACKENDS
def test_silence_noise_and_tones_give_no_words(backend: str, load: Load, noise: NDArray[np.float32]) -> None:
    tone = (np.sin(np.arange(160_000) * 2 * np.pi * 440 / SAMPLE_RATE) * 0.5).astype(np.float32)
    chord = tone + np.roll(tone, 7) * np.sin(np.arange(160_000) / 9000).astype(np.float32)
    for samples in (np.zeros(160_000, np.float32), noise, tone, chord, np.zeros(10, np.float32)):
        assert load(backend)(samples) == Transcript(None, None, [])


def test_the_same_recording_gives_the_same_transcript(load: Load, frogs: NDArray[np.float32]) -> None:
    assert load("whisper")(frogs) == load("whisper")(frogs)


def test_voice_is_found_where_it_is(frogs: NDArray[np.float32]) -> None:
    gap = np.zeros(8 * SAMPLE_RATE, np.float32)
    spans = VoiceDetector()(np.concatenate([gap, frogs, gap, frogs]), 0.5)
    speech = [(8.0, 8 + 5.93), (21.9, 21.9 + 5.93)]
    assert all(any(a - 0.3 <= start < end <= b + 0.3 for a, b in speech) for start, end in spans)
    assert sum(end - start for start, end in spans) > 8


def test_no_span_is_longer_than_a_window(frogs: NDArray[np.float32]) -> None:
    spans = VoiceDetector()(np.tile(frogs, 12), 0.5)
    assert max(end - start for start, end in join_spans(spans, 12 * len(frogs) / SAMPLE_RATE)) <= WINDOW


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0.05, WINDOW - 2 * PAD)), max_size=12))
def test_windows_cover_speech_in_order_without_overlap(gaps_and_lengths: list[tuple[float, float]]) -> None:
    spans, now = [], 0.0
    for gap, length in gaps_and_lengths:
        spans.append((now + gap, now + gap + length))
        now = spans[-1][1]
    windows = join_spans(spans, now)
    edges = [edge for window in windows for edge in window]
    assert edges == sorted(edges)
    assert all(end - start <= WINDOW + 1e-9 for start, end in windows)
    assert all(any(a <= start and end <= b for a, b in windows) for start, end in spans)
    pauses = [later[0] - earlier[1] for earlier, later in itertools.pairwise(spans)]
    assert len(windows) >= 1 + sum(pause > GAP + 2 * PAD for pause in pauses) if spans else not windows


def row(start: float = 0, end: float = 1, logprob: float = -0.3, compression: float = 1.0) -> dict[str, float]:
    return {"start": start, "end": end, "avg_logprob": logprob, "compression_ratio": compression}


def test_doubt_follows_whispers_limits() -> None:
    assert not is_doubtful([row()])
    assert is_doubtful([row(), row(logprob=-1.01)])
    assert is_doubtful([row(compression=2.41)])
    assert mean_logprob([row(logprob=-0.2), row(logprob=-0.4), row(logprob=0, compression=9)]) == pytest.approx(-0.3)
    assert mean_logprob([]) == float("-inf")


def test_a_segment_where_nobody_speaks_does_not_overlap() -> None:
    assert overlaps(row(1, 2), [(0, 0.5), (1.9, 3)])
    assert not overlaps(row(1, 2), [(0, 1), (2, 3)])


class Scripted:
    """A recogniser that mumbles at first and speaks clearly when asked for a beam."""

    def __init__(self) -> None:
        self.beams: list[int] = []

    def __call__(self, samples: object, windows: object, language: str | None, beam_size: int) -> Transcript:
        self.beams.append(beam_size)
        said = row(0, 30, -2.0 if beam_size == 1 else -0.1) | {"text": f" beam {beam_size}", "words": []}
        return Transcript("en", 0.7 if language is None else None, [said])


def test_a_doubtful_recording_is_heard_again_with_a_beam(frogs: NDArray[np.float32]) -> None:
    recogniser = Scripted()
    heard = Transcriber(recogniser, TranscribeSettings())(frogs)
    assert (heard.text, heard.language, heard.language_probability) == ("beam 5", "en", 0.7)
    assert recogniser.beams == [1, 5]


def test_the_backend_is_chosen_from_what_can_read_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, folder = Weights("whisper", "base", None, "hub"), Weights("whisper", "x", tmp_path, "local:x")
    monkeypatch.setattr("multimodal.backends.find_spec", lambda name: object())
    assert choose_backend(TranscribeSettings(), hub) == "faster-whisper"
    assert choose_backend(TranscribeSettings(), folder) == "whisper"
    (tmp_path / "model.bin").touch()
    assert choose_backend(TranscribeSettings(), folder) == "faster-whisper"
    assert choose_backend(TranscribeSettings(backend="whisper"), folder) == "whisper"
    monkeypatch.setattr("multimodal.backends.find_spec", lambda name: None)
    assert choose_backend(TranscribeSettings(), folder) == "whisper"
    with pytest.raises(ConfigError, match="fast-asr"):
        choose_backend(TranscribeSettings(backend="faster-whisper"), folder)


def test_weights_that_are_not_here_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r"models\.whisper"):
        load_transcribers(Weights("whisper", "base", None, "hub"), TranscribeSettings(), "cpu", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"neither a \.pt"):
        load_transcribers(
            Weights("whisper", "x", tmp_path / "empty", "local:x"), TranscribeSettings(backend="whisper"), "cpu", 1
        )
