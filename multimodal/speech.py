"""The models that hear: silero finds where speech is, Whisper writes it down."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray

from catalog.errors import ConfigError, ModelUnavailable
from catalog.models import Weights, cache_dir, remedy
from multimodal import hub
from multimodal.audio import SAMPLE_RATE
from multimodal.backends import choose_backend
from multimodal.chunks import one_torch_thread
from multimodal.settings import TranscribeSettings

Samples: TypeAlias = NDArray[np.float32]
Span: TypeAlias = tuple[float, float]  # seconds, half open
Row: TypeAlias = dict[str, Any]  # one segment, in the shape of schema.SEGMENT

WINDOW = 30.0  # seconds that Whisper hears at once
TIMESTAMP = 0.02  # seconds a timestamp token counts
GAP = 4.0  # a longer silence ends a window
PAD = 0.2  # kept around speech, so that no consonant is cut
DOUBTFUL_LOGPROB = -1.0  # Whisper's own limits for decoding again (Radford et al. 2022, section 4.5)
DOUBTFUL_COMPRESSION = 2.4
RETRY_BEAM = 5


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording."""

    language: str | None
    language_probability: float | None
    segments: list[Row]

    @property
    def text(self) -> str:
        """The segments' texts as one line."""
        return " ".join(text for row in self.segments if (text := row["text"].strip()))


class Recogniser(Protocol):
    """One Whisper implementation: hears the windows given, greedily or with a beam, never by sampling."""

    def __call__(self, samples: Samples, windows: Sequence[Span], language: str | None, beam_size: int) -> Transcript:
        """Transcribe the windows of one recording."""


class Transcriber:
    """Samples in, Transcript out. Not for two threads at once: load one for each."""

    def __init__(self, recognise: Recogniser, settings: TranscribeSettings) -> None:
        self._recognise = recognise
        self._settings = settings
        self._voice = VoiceDetector()

    def __call__(self, samples: Samples) -> Transcript:
        """Transcribe what speech there is; silence and music give an empty transcript."""
        spans = self._voice(samples, self._settings.speech_threshold)
        if not spans:
            return Transcript(None, None, [])
        windows = join_spans(spans, len(samples) / SAMPLE_RATE)
        heard = self._recognise(samples, windows, self._settings.language, self._settings.beam_size)
        language, probability = heard.language, heard.language_probability  # a second try is told it, and hears none
        if is_doubtful(heard.segments) and self._settings.beam_size < RETRY_BEAM:
            again = self._recognise(samples, windows, language, RETRY_BEAM)
            heard = max(heard, again, key=lambda item: mean_logprob(item.segments))
        spoken = [row for row in heard.segments if row["text"].strip() and overlaps(row, spans)]
        return Transcript(language, probability, spoken)


def join_spans(spans: Sequence[Span], duration: float) -> list[Span]:
    """Join spans of speech into windows of at most 30 s (spans are never longer), padded within the recording."""
    windows: list[Span] = []
    ends = [-PAD * 2, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans[1:]), duration + PAD * 2]
    for (start, end), before, after in zip(spans, ends, starts, strict=False):
        start = max(0.0, start - min(PAD, (start - before) / 2))  # never into the speech next to it
        end = min(duration, end + min(PAD, (after - end) / 2))
        if windows and start - windows[-1][1] <= GAP and end - windows[-1][0] <= WINDOW:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def is_doubtful(segments: Sequence[Row]) -> bool:
    """Tell whether a segment is improbable or repeats itself beyond Whisper's own limits."""
    return any(
        row["avg_logprob"] < DOUBTFUL_LOGPROB or row["compression_ratio"] > DOUBTFUL_COMPRESSION for row in segments
    )


def mean_logprob(segments: Sequence[Row]) -> float:
    """Average the log probability of segments that do not repeat themselves; -inf where there is none."""
    sound = [row["avg_logprob"] for row in segments if row["compression_ratio"] <= DOUBTFUL_COMPRESSION]
    return sum(sound) / len(sound) if sound else float("-inf")


def overlaps(row: Row, spans: Sequence[Span]) -> bool:
    """Tell whether a segment shares time with speech; what does not was invented."""
    return any(row["start"] < end and start < row["end"] for start, end in spans)


class VoiceDetector:
    """silero's voice activity detector; its weights come with its package."""

    def __init__(self) -> None:
        with one_torch_thread():  # importing silero_vad sets the process to one thread; this puts it back
            import silero_vad
        self._network = silero_vad.load_silero_vad(sequence=True)
        self._detect = silero_vad.get_speech_timestamps_sequence

    def __call__(self, samples: Samples, threshold: float) -> list[Span]:
        """Return the spans of speech in seconds, none longer than a window of Whisper."""
        longest = WINDOW - 2 * PAD
        found = self._detect(samples, self._network, threshold=threshold, max_speech_duration_s=longest)
        return [(item["start"] / SAMPLE_RATE, item["end"] / SAMPLE_RATE) for item in found]


def load_transcribers(weights: Weights, settings: TranscribeSettings, device: str, num: int) -> list[Transcriber]:
    """Load up to `num` transcribers that share one set of weights; raise ModelUnavailable or ConfigError."""
    backend = choose_backend(settings, weights)
    found = hub.locate(weights, backend)
    if found is None or found.path is None:
        raise ModelUnavailable(remedy(weights.task, weights.name))
    if backend == "faster-whisper":
        shared = _FasterWhisper(found.path, settings.words, device, num)
        return [Transcriber(shared, settings) for _ in range(num)]
    # One only: openai-whisper switches attention for the whole process while it aligns words.
    return [Transcriber(_Whisper(found, settings.words, device), settings)]


def _checkpoint(weights: Weights) -> Path:
    """Return an openai-whisper checkpoint: the file given, one in the folder, or one made from CTranslate2's."""
    assert weights.path is not None
    if weights.path.is_file():
        return weights.path
    if (weights.path / "model.bin").is_file():
        from multimodal.ct2 import convert_once

        name = f"{weights.name.replace('/', '--')}-{weights.revision.replace(':', '-')}.pt"
        return convert_once(weights.path, cache_dir() / "whisper" / name)
    found = sorted(weights.path.glob("*.pt"))
    if not found:
        raise ModelUnavailable(
            f"{weights.path}: neither a .pt of openai-whisper nor a model.bin of CTranslate2 is in it"
        )
    return found[0]


def _alignment_heads(weights: Weights) -> list[tuple[int, int]]:
    """Return the (layer, head) pairs that follow the audio, as CTranslate2's config.json lists them."""
    assert weights.path is not None
    config = weights.path / "config.json"
    if not config.is_file():
        return []
    return [(layer, head) for layer, head in json.loads(config.read_text(encoding="utf-8")).get("alignment_heads", [])]


def _head_mask(network: Any, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    mask = torch.zeros(network.dims.n_text_layer, network.dims.n_text_head, dtype=torch.bool)
    for layer, head in heads:
        mask[layer, head] = True
    return mask.to(network.device)


class _RememberingEncoder(torch.nn.Module):
    """Whisper's audio encoder, which keeps its last answer: aligning words, or a second try, asks the same again."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self._encoder = encoder
        self._asked = torch.empty(0)
        self._answer = torch.empty(0)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Encode a log-mel spectrogram [N, mels, frames]."""
        if self._asked.dtype != mel.dtype or not torch.equal(self._asked, mel):
            self._answer = self._encoder(mel)
            self._asked = mel.clone()
        return self._answer


class _Whisper:
    """openai-whisper: one greedy or beam decoding a window; its own `transcribe` can seek for ever in short clips."""

    def __init__(self, weights: Weights, words: bool, device: str) -> None:
        import whisper

        self._network = whisper.load_model(str(_checkpoint(weights)), device=device)
        self._network.encoder = _RememberingEncoder(self._network.encoder)
        with warnings.catch_warnings():  # whisper never closes its vocabulary; it is read once, here
            warnings.simplefilter("ignore", ResourceWarning)
            self._tokenizer("en")
        heads = _alignment_heads(weights)
        if heads:
            mask = _head_mask(self._network, heads)
            self._network.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
        self._words = words

    def __call__(self, samples: Samples, windows: Sequence[Span], language: str | None, beam_size: int) -> Transcript:
        """Transcribe the windows of one recording."""
        probability = None
        if not self._network.is_multilingual:
            language = "en"
        elif language is None:
            language, probability = self._hear_language(self._mel(samples, windows[0]))
        assert language is not None
        rows = [row for window in windows for row in self._hear(samples, window, language, beam_size)]
        return Transcript(language, probability, rows)

    def _tokenizer(self, language: str) -> Any:
        from whisper.tokenizer import get_tokenizer

        multilingual, num_languages = self._network.is_multilingual, self._network.num_languages
        return get_tokenizer(multilingual, num_languages=num_languages, language=language, task="transcribe")

    def _mel(self, samples: Samples, window: Span) -> torch.Tensor:
        import whisper

        piece = samples[int(window[0] * SAMPLE_RATE) : int(window[1] * SAMPLE_RATE)]
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(piece), self._network.dims.n_mels)
        return cast(torch.Tensor, mel.to(self._network.device))

    def _hear_language(self, mel: torch.Tensor) -> tuple[str, float]:
        _, found = self._network.detect_language(mel)
        language = max(found, key=lambda name: float(found[name]))
        return language, float(found[language])

    def _hear(self, samples: Samples, window: Span, language: str, beam_size: int) -> list[Row]:
        import whisper
        from whisper.timing import add_word_timestamps

        mel = self._mel(samples, window)
        beam = beam_size if beam_size > 1 else None
        half = self._network.device.type == "cuda"
        options = whisper.DecodingOptions(language=language, beam_size=beam, fp16=half)
        result = whisper.decode(self._network, mel, options)
        tokenizer = self._tokenizer(language)
        segments = _cut_at_timestamps(result, tokenizer, window[1] - window[0])
        if self._words:
            frames = round((window[1] - window[0]) * SAMPLE_RATE / whisper.audio.HOP_LENGTH)
            add_word_timestamps(
                segments=segments, model=self._network, tokenizer=tokenizer, mel=mel, num_frames=frames,
                last_speech_timestamp=0.0,
            )  # fmt: skip
        return [_shifted(_segment(row, row.get("words")), window[0]) for row in segments]


def _cut_at_timestamps(result: Any, tokenizer: Any, duration: float) -> list[Row]:
    """Split one decoding at its timestamp tokens into segments, as Whisper's own `transcribe` does."""
    segments: list[Row] = []
    start, tokens = 0.0, []
    for token in [*result.tokens, None]:
        if token is not None and token < tokenizer.timestamp_begin:
            tokens.append(token)
            continue
        time = duration if token is None else (token - tokenizer.timestamp_begin) * TIMESTAMP
        end = min(time, duration)
        text = [item for item in tokens if item < tokenizer.eot]
        if text:
            segments.append(
                {"seek": 0, "start": min(start, end), "end": end, "text": tokenizer.decode(text), "tokens": text,
                 "avg_logprob": result.avg_logprob, "no_speech_prob": result.no_speech_prob,
                 "compression_ratio": result.compression_ratio}
            )  # fmt: skip
        start, tokens = end, []
    return segments


def _shifted(row: Row, seconds: float) -> Row:
    words = [word | {"start": word["start"] + seconds, "end": word["end"] + seconds} for word in row["words"]]
    return row | {"start": row["start"] + seconds, "end": row["end"] + seconds, "words": words}


class _FasterWhisper:
    """faster-whisper on CTranslate2; one model serves many threads."""

    def __init__(self, folder: Path, words: bool, device: str, num: int) -> None:
        if not (folder / "model.bin").is_file():
            raise ConfigError(
                f"transcribe.backend: faster-whisper reads CTranslate2 folders, not {folder}; write backend: whisper"
            )
        from faster_whisper import WhisperModel

        compute = "float16" if device == "cuda" else "int8"
        self._network = WhisperModel(str(folder), device, compute_type=compute, cpu_threads=1, num_workers=num)
        self._words = words

    def __call__(self, samples: Samples, windows: Sequence[Span], language: str | None, beam_size: int) -> Transcript:
        """Transcribe the windows of one recording."""
        segments, info = self._network.transcribe(
            samples,
            temperature=0.0,
            beam_size=beam_size,
            condition_on_previous_text=False,
            word_timestamps=self._words,
            clip_timestamps=[edge for window in windows for edge in window],
            language=language,
        )
        heard = self._network.model.is_multilingual and language is None
        rows = [_segment(vars(row), [vars(word) for word in row.words or []]) for row in segments]
        return Transcript(info.language, info.language_probability if heard else None, rows)


def _segment(row: Row, words: Sequence[Row] | None) -> Row:
    numbers = ("start", "end", "avg_logprob", "no_speech_prob", "compression_ratio")
    times = ("start", "end", "probability")
    kept = [{"word": word["word"]} | {name: float(word[name]) for name in times} for word in words or []]
    return {name: float(row[name]) for name in numbers} | {"text": row["text"], "words": kept}
