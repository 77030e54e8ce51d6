"""Many recordings through one Whisper: short clips share windows, like is decoded with like, doubts are heard again."""

import queue
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from multimodal.audio import SAMPLE_RATE
from multimodal.chunks import one_torch_thread
from multimodal.clips import PAD, Clip, cut_clips
from multimodal.doubts import Doubt, Span, doubt, is_doubtful, is_repetitive, is_said_twice, overlaps
from multimodal.engines import (
    TIMESTAMP_SECONDS,
    Decoding,
    Engine,
    Floats,
    Row,
    Samples,
    Sound,
    cut_at_timestamps,
    num_states,
    text_of,
)
from multimodal.packing import WINDOW_FRAMES, Slot, pack
from multimodal.settings import TranscribeSettings

Detector: TypeAlias = Callable[[Samples, float], list[Span]]  # samples and a threshold → spans of speech in seconds
Item = TypeVar("Item")
Result = TypeVar("Result")
Key: TypeAlias = tuple[str, bool]  # language, shared window: what is decoded together

ENCODE_WINDOWS = 2  # at once
DECODE_CLIPS = 16  # at once, of shared windows
DECODE_WINDOWS = 6  # at once, that are a clip's own: each step reads all states of each
SILENCE = -0.8  # of a log-mel spectrogram whose loudest sound is speech
MAX_TAILS = 3  # times that what a clip's decoding left out is heard again
MIN_TAIL = 1.5  # seconds of speech that a decoding which stops amid it may leave out; its times are rough
MIN_UTTERANCE = 0.3  # seconds of an utterance that comes after its end
POOLED_STATES = 8  # averaged to one row of audio_states: 0.16 s


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording."""

    language: str | None
    language_probability: float | None
    segments: list[Row]
    dropped: list[Row] = field(default_factory=list)
    states: NDArray[np.float16] | None = None  # [rows, width]
    starts: list[float] = field(default_factory=list)  # seconds, of each row of the states

    @property
    def text(self) -> str:
        """The segments' texts as one line."""
        return " ".join(text for row in self.segments if (text := row["text"].strip()))


@dataclass
class _Heard:
    """One clip on its way through the model."""

    clip: Clip
    owner: int  # the recording's number
    slot: Slot
    shared: bool
    language: str = ""
    states: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))  # of its slot
    decoding: Decoding | None = None
    start: int = 0  # the state of the window that speech begins at
    segments: list[Row] = field(default_factory=list)
    dropped: list[Row] = field(default_factory=list)
    is_tail: bool = False  # the end of a clip that was heard before


class Transcriber:
    """Recordings in, transcripts out: on as many threads as there are engines, and the same whatever their number."""

    def __init__(self, engines: Sequence[Engine], detectors: Sequence[Detector], settings: TranscribeSettings) -> None:
        self._engine = engines[0]
        self._engines = _queue(engines)
        self._detectors = _queue(detectors)
        self.num_threads = len(engines)
        self._settings = settings
        self._silence: Floats | None = None

    def find_speech(self, samples: Samples) -> list[Clip]:
        """Cut a recording into clips of speech; silence and music give none. Safe to call from several threads."""
        detector = self._detectors.get()
        try:
            spans = detector(samples, self._settings.speech_threshold)
        finally:
            self._detectors.put(detector)
        return cut_clips(samples, spans)

    def __call__(self, recordings: Sequence[Sequence[Clip]]) -> list[Transcript]:
        """Transcribe recordings, each given as its clips; short ones share windows."""
        told = self._settings.language or (None if self._engine.is_multilingual else "en")
        heard: list[_Heard] = []
        languages: dict[int, tuple[str, float | None]] = {}
        clips = [(owner, clip) for owner, clips in enumerate(recordings) for clip in clips]
        for round_number in range(1 + MAX_TAILS):
            slots = _slots(clips, self._settings.share_windows, told is None and not languages)
            fresh = [
                _Heard(clip, owner, slot, slot.frames < WINDOW_FRAMES, is_tail=round_number > 0)
                for (owner, clip), slot in zip(clips, slots, strict=True)
            ]
            self._encode(fresh)
            languages = languages or self._languages(fresh, told)
            for item in fresh:
                item.language = languages[item.owner][0]
            self._decode(fresh)
            self._again([item for item in fresh if _needs_another_try(item, self._tokenizer(item))])
            self._map(self._cut, fresh)
            heard += fresh
            clips = [(item.owner, tail) for item in fresh if (tail := _tail(item)) is not None]
        heard.sort(key=lambda item: (item.owner, item.clip.start))
        return [self._transcript(number, heard, languages) for number in range(len(recordings))]

    def _tokenizer(self, item: _Heard) -> Any:
        return self._engine.tokenizer(item.language)

    def _map(self, function: Callable[[Engine, Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply a function to items, each with an engine of its own; return the results in order."""

        def run(item: Item) -> Result:
            engine = self._engines.get()
            try:
                return function(engine, item)
            finally:
                self._engines.put(engine)

        with one_torch_thread(), ThreadPoolExecutor(self.num_threads) as pool:
            return list(pool.map(run, items))

    def _encode(self, heard: Sequence[_Heard]) -> None:
        windows: dict[int, list[_Heard]] = {}
        for item in heard:
            windows.setdefault(item.slot.window, []).append(item)

        if self._silence is None and any(item.shared for item in heard):
            self._silence = _silence(self._engine)

        def encode(engine: Engine, numbers: Sequence[int]) -> None:
            together = np.stack([_spectrogram(engine, windows[number]) for number in numbers])
            for number, states in zip(numbers, engine.encode(together), strict=True):
                for item in windows[number]:
                    item.states = states[item.slot.states]

        self._map(encode, _chunks(sorted(windows), ENCODE_WINDOWS))

    def _languages(self, heard: Sequence[_Heard], told: str | None) -> dict[int, tuple[str, float | None]]:
        """Return each recording's language: the one told, or what its first clip sounds like, with the probability."""
        if told is not None:
            return {item.owner: (told, None) for item in heard}
        firsts = list({item.owner: item for item in reversed(heard)}.values())
        found = self._map(lambda engine, item: engine.hear_language(item.states), firsts)
        return {item.owner: language for item, language in zip(firsts, found, strict=True)}

    def _decode(self, heard: Sequence[_Heard]) -> None:
        """Decode clips of like length together, each as if the rest of its window were silent."""
        alike: dict[Key, list[_Heard]] = {}
        for item in sorted(heard, key=lambda item: -item.clip.frames):
            alike.setdefault((item.language, item.shared), []).append(item)
        batches = [
            batch
            for (_, shared), items in alike.items()
            for batch in _chunks(items, DECODE_CLIPS if shared else DECODE_WINDOWS)
        ]

        def decode(engine: Engine, batch: Sequence[_Heard]) -> None:
            found = engine.decode(self._sound(batch), batch[0].language, self._settings.beam_size)
            for item, decoding in zip(batch, found, strict=True):
                item.decoding, item.start = decoding, item.slot.states.start

        self._map(decode, batches)

    def _sound(self, items: Sequence[_Heard]) -> Sound:
        """Return clips of one Key as what an engine hears: nothing but the clip in each window."""
        states = [item.states for item in items]
        if not items[0].shared:
            return Sound(states)
        return Sound(states, [item.slot.states.start for item in items], self._silence)

    def _again(self, doubtful: Sequence[_Heard]) -> None:
        """Hear clips again, each in a window of its own, and keep the best of the tries."""

        def encode(engine: Engine, items: Sequence[_Heard]) -> None:
            for item in items:
                item.slot, item.shared, item.start = Slot(0, 0, WINDOW_FRAMES), False, 0
            together = np.stack([_spectrogram(engine, [item]) for item in items])
            for item, states in zip(items, engine.encode(together), strict=True):
                item.states = states

        apart = [item for item in doubtful if item.shared]
        self._map(encode, _chunks(apart, ENCODE_WINDOWS))
        self._decode(apart)
        for item in doubtful:  # one after another: who samples does it from one seed
            item.decoding = self._best(item)

    def _best(self, item: _Heard) -> Decoding:
        tokenizer, tries = self._tokenizer(item), []
        assert item.decoding is not None
        for decoding in chain([item.decoding], self._retries(item)):
            text = text_of(decoding, tokenizer)
            if not is_doubtful(text, decoding.avg_logprob):
                return decoding
            tries.append((not is_repetitive(text), decoding.avg_logprob, decoding))
        return max(tries, key=lambda one: one[:2])[2]

    def _retries(self, item: _Heard) -> Iterator[Decoding]:
        with one_torch_thread():
            yield from self._engine.retries(item.states, item.language, zlib.crc32(item.clip.samples.tobytes()))

    def _cut(self, engine: Engine, item: _Heard) -> None:
        """Cut what was heard into segments with words, in seconds of the recording; drop what nobody said."""
        assert item.decoding is not None
        tokenizer = engine.tokenizer(item.language)
        segments = cut_at_timestamps(item.decoding, tokenizer, item.start, item.clip.frames)
        if segments and self._settings.words:
            engine.time_words(self._sound([item]), item.clip.frames, item.language, segments)
        decoding = item.decoding
        whole = doubt(
            text_of(decoding, tokenizer), decoding.avg_logprob, 0.0 if item.shared else decoding.no_speech_prob
        )
        for row in (_finished(row, item) for row in segments):
            reason = whole or (None if overlaps(row["start"], row["end"], item.clip.spans) else Doubt.NO_VOICE)
            if not row["text"].strip():
                continue
            if reason is None:
                item.segments.append(row)
            else:
                dropped = {name: row[name] for name in ("start", "end", "text")}
                item.dropped.append(dropped | {"reason": reason.value})

    def _transcript(
        self, number: int, heard: Sequence[_Heard], languages: dict[int, tuple[str, float | None]]
    ) -> Transcript:
        mine = [item for item in heard if item.owner == number]
        language, probability = languages.get(number, (None, None))
        segments = [row for item in mine for row in item.segments]
        dropped = [row for item in mine for row in item.dropped]
        if not self._settings.states or not mine:
            return Transcript(language, probability, segments, dropped)
        whole = [item for item in mine if not item.is_tail]
        pooled = [_pooled(item) for item in whole]
        starts = [start for item, rows in zip(whole, pooled, strict=True) for start in _starts(item, len(rows))]
        return Transcript(language, probability, segments, dropped, np.concatenate(pooled), starts)


def _queue(items: Sequence[Item]) -> "queue.SimpleQueue[Item]":
    filled: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        filled.put(item)
    return filled


def _chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _slots(clips: Sequence[tuple[int, Clip]], shared: bool, alone: bool) -> list[Slot]:
    """Place clips in windows, which recordings share or do not; `alone` gives the first of each one to itself."""
    mine: dict[int, list[int]] = {}
    for at, (owner, _) in enumerate(clips):
        mine.setdefault(owner, []).append(at)
    firsts = {owned[0] for owned in mine.values()} if alone else set()
    slots: dict[int, Slot] = {}
    for group in [range(len(clips))] if shared else mine.values():
        taken = 1 + max((slot.window for slot in slots.values()), default=-1)
        lengths = [clips[at][1].frames for at in group]
        placed = pack(lengths, [number for number, at in enumerate(group) if at in firsts])
        slots |= {at: replace(slot, window=taken + slot.window) for at, slot in zip(group, placed, strict=True)}
    return [slots[at] for at in range(len(clips))]


def _tail(item: _Heard) -> Clip | None:
    """Return the end of a clip if somebody speaks there and nothing was heard: Whisper often stops before it."""
    if not item.segments:
        return None
    last = max(row["end"] for row in item.segments)
    unheard = [
        (max(start, last), end)
        for start, end in item.clip.spans
        if end - max(start, last) >= (MIN_TAIL if start < last - MIN_UTTERANCE else MIN_UTTERANCE)
    ]
    if not unheard:
        return None
    start = max(last, unheard[0][0] - PAD)
    samples = item.clip.samples[int((start - item.clip.start) * SAMPLE_RATE) :]
    return Clip(start, samples, tuple(unheard))


def _spectrogram(engine: Engine, items: Sequence[_Heard]) -> Floats:
    """Return a window [mels, 3000] with every clip in its slot; each is as loud as it would be alone."""
    pieces = [(item.slot, engine.spectrogram(item.clip.samples, item.slot.frames)) for item in items]
    window = np.full((len(pieces[0][1]), WINDOW_FRAMES), min(piece.min() for _, piece in pieces), np.float32)
    for slot, piece in pieces:
        window[:, slot.start : slot.start + slot.frames] = piece
    return window


def _silence(engine: Engine) -> Floats:
    """Return the states [1500, width] of a window in which nothing is heard."""
    nothing = engine.spectrogram(np.zeros(0, np.float32), WINDOW_FRAMES)
    (states,) = engine.encode(np.full((1, *nothing.shape), SILENCE, np.float32))
    return np.asarray(states, np.float32)


def _needs_another_try(item: _Heard, tokenizer: Any) -> bool:
    """Tell whether what was heard is doubtful, or looks like what sharing a window does to a clip."""
    assert item.decoding is not None
    text = text_of(item.decoding, tokenizer)
    if is_doubtful(text, item.decoding.avg_logprob):
        return True
    return item.shared and (not text or is_said_twice(text))


def _finished(row: Row, item: _Heard) -> Row:
    """Return a segment in the shape of schema.SEGMENT, in seconds of the recording."""
    shift = item.clip.start
    words = [
        {"word": word["word"], "start": float(word["start"]) + shift, "end": float(word["end"]) + shift,
         "probability": float(word["probability"])}
        for word in row["words"]
    ]  # fmt: skip
    return {
        "start": float(row["start"]) + shift, "end": float(row["end"]) + shift, "text": row["text"],
        "avg_logprob": float(row["avg_logprob"]),
        # in a shared window it tells how silent the others are made
        "no_speech_prob": None if item.shared else float(row["no_speech_prob"]),
        "compression_ratio": float(row["compression_ratio"]), "words": words,
    }  # fmt: skip


def _pooled(item: _Heard) -> NDArray[np.float16]:
    """Average a clip's states, eight at a time."""
    states = item.states[: num_states(item.clip.frames)]
    starts = np.arange(0, len(states), POOLED_STATES)
    sums = np.add.reduceat(states, starts, axis=0)
    counts = np.minimum(POOLED_STATES, len(states) - starts)
    return (sums / counts[:, None]).astype(np.float16)


def _starts(item: _Heard, num: int) -> list[float]:
    return [item.clip.start + row * POOLED_STATES * TIMESTAMP_SECONDS for row in range(num)]
