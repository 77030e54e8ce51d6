"""Speech: real voice detection and Whisper, and the rules around them."""

import itertools
import json
from collections.abc import Callable, Iterator
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
from multimodal.clips import GAP, PAD, WINDOW, join_spans
from multimodal.doubts import is_repetitive
from multimodal.engines import Sound, text_of
from multimodal.packing import WINDOW_FRAMES
from multimodal.settings import TranscribeSettings
from multimodal.speech import VoiceDetector, load_transcriber
from multimodal.transcriber import Transcriber, Transcript

Samples = NDArray[np.float32]
Load = Callable[..., Transcriber]
SAID = {
    "frogs": "water is very important to frogs",
    "kew": "seeds",
    "rocket": "rocket",
    "volcano": "volcano",
}


@pytest.fixture(scope="session")
def load(whisper_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    loaded: dict[tuple[str, int], Transcriber] = {}

    def get(backend: str, threads: int = 2) -> Transcriber:
        if backend == "faster-whisper":
            pytest.importorskip("faster_whisper", reason="needs headrace[fast-asr]")
        if (backend, threads) not in loaded:
            settings = TranscribeSettings.parse({"backend": backend, "states": True}, "test")
            loaded[backend, threads] = load_transcriber(whisper_weights, settings, "cpu", threads)
        return loaded[backend, threads]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield get


def read(path: Path) -> Samples:
    samples = decode_audio(path.read_bytes())
    assert isinstance(samples, np.ndarray)
    return samples


@pytest.fixture(scope="session")
def frogs(site: Path) -> Samples:
    """ "Clean water is very important to frogs …", 5.9 s."""
    return read(site / "audio" / "frogs.ogg")


def hear(transcriber: Transcriber, *recordings: Samples) -> list[Transcript]:
    return transcriber([transcriber.find_speech(samples) for samples in recordings])


BACKENDS = pytest.mark.parametrize("backend", ["whisper", "faster-whisper"])


@BACKENDS
def test_recordings_share_windows_and_keep_their_words_and_times(backend: str, load: Load, site: Path) -> None:
    names = {path.stem: read(path) for path in sorted((site / "audio").iterdir())}
    late = np.concatenate([np.zeros(40 * SAMPLE_RATE, np.float32), names["frogs"]])
    transcriber = load(backend)
    *heard, moved = hear(transcriber, *names.values(), late)
    for name, found in zip(names, heard, strict=True):
        assert SAID[name] in found.text.lower()
        assert not any(said in found.text.lower() for other, said in SAID.items() if other != name)
        assert (found.language, found.language_probability) == ("en", None)  # a model for one language does not guess
        duration = len(names[name]) / SAMPLE_RATE
        words = [word for row in found.segments for word in row["words"]]
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= duration + 0.5
        assert all(0 <= word["probability"] <= 1 for word in words)
        assert found.states is not None and found.states.shape == (len(found.starts), 384)
        assert len(found.starts) == pytest.approx(duration / 0.16, abs=8)
        assert all(0 <= start < duration for start in found.starts)
    early = dict(zip(names, heard, strict=True))["frogs"]
    assert moved.text.split()[1:4] == early.text.split()[1:4]
    assert moved.segments[0]["words"][3]["start"] == pytest.approx(early.segments[0]["words"][3]["start"] + 40, abs=0.6)


@BACKENDS
def test_the_transcripts_are_the_same_on_one_thread_and_on_two(backend: str, load: Load, shared: Path) -> None:
    names = ("demo-nomatch", "tt-weasels", "vm-saveoper")
    recordings = [read(shared / "data" / "speech" / f"asterisk-en_{name}.wav") for name in names]
    one, two = (hear(load(backend, threads), *recordings) for threads in (1, 2))
    assert [item.segments for item in one] == [item.segments for item in two]
    assert all(np.array_equal(a.states, b.states) for a, b in zip(one, two, strict=True))


@BACKENDS
def test_every_further_try_is_the_same_again(backend: str, load: Load, shared: Path) -> None:
    engine = load(backend, 1)._engine
    samples = read(shared / "data" / "speech" / "asterisk-en_tt-weasels.wav")
    (states,) = engine.encode(engine.spectrogram(samples, WINDOW_FRAMES)[None])
    tries = [[item.tokens for item in itertools.islice(engine.retries(states, "en", seed=7), 2)] for _ in range(2)]
    assert tries[0] == tries[1]
    assert len(tries[0]) == 2
    assert "weasel" in engine.tokenizer("en").decode(tries[0][0]).lower()


def test_what_goes_round_in_a_circle_is_heard_again_until_it_does_not(load: Load, shared: Path) -> None:
    names = ("demo-moreinfo", "conf-adminmenu-18")  # two who speak at once get a greedy decoding stuck
    one, two = (read(shared / "data" / "speech" / f"asterisk-en_{name}.wav") for name in names)
    mixed = two * np.float32(0.5)
    mixed[: len(one)] += one * np.float32(0.5)
    transcriber = load("faster-whisper")
    engine = transcriber._engine
    (clip,) = transcriber.find_speech(mixed)
    states = engine.encode(engine.spectrogram(clip.samples, WINDOW_FRAMES)[None])
    (greedy,) = engine.decode(Sound(list(states)), "en", 1)
    assert is_repetitive(text_of(greedy, engine.tokenizer("en")))
    (found,) = hear(transcriber, mixed)
    assert found.text and not is_repetitive(found.text)


@BACKENDS
def test_silence_noise_and_music_give_no_words(backend: str, load: Load, noise: Samples, frogs: Samples) -> None:
    times = np.arange(160_000) / SAMPLE_RATE
    tone = (np.sin(times * 2 * np.pi * 440) * 0.5).astype(np.float32)
    chord = tone + np.roll(tone, 7) * np.sin(np.arange(160_000) / 9000).astype(np.float32)
    notes = np.array([262, 330, 392, 523, 392, 330])[(times * 4).astype(int) % 6]  # an arpeggio of plucked strings
    plucked = sum(np.sin(2 * np.pi * notes * part * times) / part for part in range(1, 6)) * np.exp(
        -(times * 4 % 1) * 3
    )
    music = (plucked * 0.3).astype(np.float32)
    quiet = [np.zeros(160_000, np.float32), noise, tone, chord, music, np.zeros(10, np.float32)]
    *nothing, something = hear(load(backend), *quiet, frogs)
    assert [found.text for found in nothing] == [""] * len(quiet)
    assert SAID["frogs"] in something.text.lower()


@BACKENDS
def test_no_word_of_one_clip_is_heard_in_another(backend: str, load: Load, shared: Path) -> None:
    rows = [json.loads(line) for line in (shared / "data" / "speech" / "manifest.jsonl").read_text().splitlines()]
    rows = sorted(rows, key=lambda row: row["duration"])[10:18]
    heard = hear(load(backend), *(read(shared / "data" / "speech" / row["audio"]) for row in rows))
    said = [set(row["transcript"].lower().replace(".", " ").replace(",", " ").split()) for row in rows]
    texts = [found.text.lower().replace(".", " ").replace(",", " ").split() for found in heard]
    for number, (own, text) in enumerate(zip(said, texts, strict=True)):
        others = set().union(*(words for other, words in enumerate(said) if other != number)) - own
        assert sum(word in others for word in text) <= 1, (
            rows[number]["transcript"],
            text,
        )  # one misheard, not a phrase
    missed = sum(len(own - set(text)) for own, text in zip(said, texts, strict=True))
    assert missed <= 0.25 * sum(map(len, said))


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
        load_transcriber(Weights("whisper", "base", None, "hub"), TranscribeSettings(), "cpu", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelUnavailable, match=r"neither a \.pt"):
        load_transcriber(
            Weights("whisper", "x", tmp_path / "empty", "local:x"), TranscribeSettings(backend="whisper"), "cpu", 1
        )
