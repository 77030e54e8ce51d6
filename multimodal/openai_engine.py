"""openai-whisper as an engine: batched greedy decoding; beams and sampling one window at a time, as it can do no more.

Its decoder keeps state in hooks on the network's modules, so each thread has modules of its own around shared weights.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import whisper
from whisper.decoding import DecodingTask, LogitFilter
from whisper.timing import add_word_timestamps
from whisper.tokenizer import get_tokenizer

from multimodal.engines import RETRY_BEAM, Decoding, Floats, Row, Samples, padded

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # as whisper.transcribe falls back
BEST_OF = 5
_aligning = threading.Lock()  # aligning switches attention for the whole process, and numba's threads allow one caller


class OpenAIEngine:
    """One thread's openai-whisper; see `engines.Engine`."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self.is_multilingual = bool(network.is_multilingual)

    def on_threads(self, num: int) -> list["OpenAIEngine"]:
        """Return engines for `num` threads that share one set of weights."""
        shared = {id(item): item for item in chain(self._network.parameters(), self._network.buffers())}
        return [self, *(OpenAIEngine(copy.deepcopy(self._network, dict(shared))) for _ in range(num - 1))]

    def spectrogram(self, samples: Samples, frames: int) -> Floats:
        """See `Engine`."""
        mel = whisper.log_mel_spectrogram(padded(samples, frames), self._network.dims.n_mels)
        return np.asarray(mel.numpy(), np.float32)

    @torch.no_grad()
    def encode(self, spectrograms: Floats) -> Floats:
        """See `Engine`."""
        states = self._network.encoder(self._given(spectrograms))
        return np.asarray(states.float().cpu().numpy(), np.float32)

    def hear_language(self, states: Floats) -> tuple[str, float]:
        """See `Engine`."""
        _, (found,) = self._network.detect_language(self._given(states[None]))
        language = max(found, key=lambda name: float(found[name]))
        return language, float(found[language])

    def decode(self, states: Floats, starts: Sequence[int] | None, language: str, beam_size: int) -> list[Decoding]:
        """See `Engine`."""
        if beam_size == 1:
            return self._decode(states, starts, language)
        singly = range(len(states))  # a beam over several windows is more than its decoder can do
        return [
            self._decode(states[at : at + 1], starts and starts[at : at + 1], language, beam_size=beam_size)[0]
            for at in singly
        ]

    def retries(self, states: Floats, language: str, seed: int) -> Iterator[Decoding]:
        """See `Engine`: a beam, then samples at rising temperatures. For one thread at a time: the seed is torch's."""
        yield from self._decode(states[None], None, language, beam_size=RETRY_BEAM)
        with torch.random.fork_rng():
            for temperature in TEMPERATURES:
                torch.manual_seed(seed)
                yield from self._decode(states[None], None, language, temperature=temperature, best_of=BEST_OF)

    def _decode(self, states: Floats, starts: Sequence[int] | None, language: str, **options: Any) -> list[Decoding]:
        half = self._network.device.type == "cuda"
        task = DecodingTask(self._network, whisper.DecodingOptions(language=language, fp16=half, **options))
        if starts is not None:
            first = [task.tokenizer.timestamp_begin + start for start in starts]
            task.logit_filters.append(_StartAt(first, task.sample_begin))
        results = task.run(self._given(states))
        return [Decoding(item.tokens, float(item.avg_logprob), float(item.no_speech_prob)) for item in results]

    def tokenizer(self, language: str) -> Any:
        """See `Engine`."""
        num_languages = self._network.num_languages
        return get_tokenizer(self.is_multilingual, num_languages=num_languages, language=language, task="transcribe")

    def time_words(self, states: Floats, num_frames: int, language: str, segments: list[Row]) -> None:
        """See `Engine`."""
        with _aligning:
            add_word_timestamps(
                segments=segments, model=self._network, tokenizer=self.tokenizer(language), mel=self._given(states),
                num_frames=num_frames, last_speech_timestamp=0.0,
            )  # fmt: skip

    def _given(self, values: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._network.device)


class _StartAt(LogitFilter):  # type: ignore[misc]
    """Makes a timestamp the first token of each row."""

    def __init__(self, tokens: Sequence[int], sample_begin: int) -> None:
        self._tokens = torch.tensor(tokens)
        self._sample_begin = sample_begin

    def apply(self, logits: torch.Tensor, tokens: torch.Tensor) -> None:
        """Change the logits [N × beams, vocabulary] in place."""
        if tokens.shape[1] == self._sample_begin:
            first = self._tokens.repeat_interleave(len(logits) // len(self._tokens)).to(logits.device)
            logits[:] = -np.inf
            logits[torch.arange(len(logits)), first] = 0


class GivenStates(torch.nn.Module):
    """An audio encoder that leaves states as they are: decoding and aligning ask it again for what was encoded."""

    def __init__(self, encoder: torch.nn.Module, width: int) -> None:
        super().__init__()
        self._encoder = encoder
        self._width = width

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Encode a log-mel spectrogram [N, mels, frames]; return states [N, 1500, width] as they are."""
        if values.shape[-1] != self._width:
            return self._encoder(values)  # type: ignore[no-any-return]
        return values
