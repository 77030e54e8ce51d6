"""openai-whisper as an engine, which threads share: its decoding and alignment over a decoder without state."""

import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import whisper
from whisper.decoding import BeamSearchDecoder, DecodingTask, LogitFilter
from whisper.timing import add_word_timestamps
from whisper.tokenizer import get_tokenizer

from multimodal.engines import RETRY_BEAM, Decoding, Floats, Row, Samples, Sound, padded
from multimodal.openai_decoder import ClipInference, Memory, decode_tokens

TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)  # as whisper.transcribe falls back
BEST_OF = 5
_aligning = threading.Lock()  # it switches attention for the whole process, and numba's threads allow one caller


class OpenAIEngine:
    """openai-whisper; see `engines.Engine`."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._silence: Memory | None = None
        self.is_multilingual = bool(network.is_multilingual)

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

    def decode(self, sound: Sound, language: str, beam_size: int) -> list[Decoding]:
        """See `Engine`."""
        if beam_size == 1:
            return self._decode(sound, language)
        singly = (
            Sound([item], sound.starts and [sound.starts[at]], sound.silence) for at, item in enumerate(sound.states)
        )
        return [self._decode(one, language, beam_size=beam_size)[0] for one in singly]  # its beams are of one window

    def retries(self, states: Floats, language: str, seed: int) -> Iterator[Decoding]:
        """See `Engine`: a beam, then samples at rising temperatures. For one thread at a time: the seed is torch's."""
        sound = Sound([states])
        yield from self._decode(sound, language, beam_size=RETRY_BEAM)
        with torch.random.fork_rng():
            for temperature in TEMPERATURES:
                torch.manual_seed(seed)
                yield from self._decode(sound, language, temperature=temperature, best_of=BEST_OF)

    def _decode(self, sound: Sound, language: str, **options: Any) -> list[Decoding]:
        half = self._network.device.type == "cuda"
        task = DecodingTask(self._network, whisper.DecodingOptions(language=language, fp16=half, **options))
        task.inference = ClipInference(self._network, self._memory(sound), task.tokenizer.eot)
        if isinstance(task.decoder, BeamSearchDecoder):
            task.decoder.inference = task.inference
        if sound.starts is not None:
            first = [task.tokenizer.timestamp_begin + start for start in sound.starts]
            task.logit_filters.append(_StartAt(first, task.sample_begin))
        results = task.run(self._unread(len(sound.states)))
        return [Decoding(item.tokens, float(item.avg_logprob), float(item.no_speech_prob)) for item in results]

    @torch.no_grad()
    def _memory(self, sound: Sound) -> Memory:
        decoder = self._network.decoder
        if sound.silence is not None and self._silence is None:
            self._silence = Memory(decoder, [self._given(sound.silence)])
        return Memory(decoder, [self._given(item) for item in sound.states], sound.starts, self._silence)

    def _unread(self, num: int) -> torch.Tensor:
        """Return the states of so many windows in shape only: a task counts them, and the memory is attended to."""
        dims = self._network.dims
        return torch.zeros((), device=self._network.device).expand(num, dims.n_audio_ctx, dims.n_audio_state)

    def tokenizer(self, language: str) -> Any:
        """See `Engine`."""
        num_languages = self._network.num_languages
        return get_tokenizer(self.is_multilingual, num_languages=num_languages, language=language, task="transcribe")

    @torch.no_grad()
    def time_words(self, sound: Sound, num_frames: int, language: str, segments: list[Row]) -> None:
        """See `Engine`."""
        tokenizer = self.tokenizer(language)
        text = [token for row in segments for token in row["tokens"] if token < tokenizer.eot]
        tokens = torch.tensor([[*tokenizer.sot_sequence, tokenizer.no_timestamps, *text, tokenizer.eot]])
        scores: list[torch.Tensor] = []
        logits, _ = decode_tokens(
            self._network.decoder, tokens.to(self._network.device), self._memory(sound), scores=scores
        )
        with _aligning:
            add_word_timestamps(
                segments=segments, model=_Passed(self._network, logits, scores), tokenizer=tokenizer,
                mel=self._unread(1)[0], num_frames=num_frames, last_speech_timestamp=0.0,
            )  # fmt: skip

    def _given(self, values: Floats) -> torch.Tensor:
        given = torch.from_numpy(np.ascontiguousarray(values)).to(self._network.device)
        return given.half() if given.device.type == "cuda" else given


class _Scores(torch.nn.Module):
    """A cross-attention that has attended; hooks on it are told the scores."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self._scores = scores

    def forward(self) -> tuple[None, torch.Tensor]:
        """Return what it found, which nobody asks, and the scores."""
        return None, self._scores


class _Passed(SimpleNamespace):
    """What `whisper.timing` needs of a network whose one pass is made: logits, and scores by layer."""

    def __init__(self, network: Any, logits: torch.Tensor, scores: Sequence[torch.Tensor]) -> None:
        blocks = [SimpleNamespace(cross_attn=_Scores(item.float())) for item in scores]
        super().__init__(dims=network.dims, device=network.device, alignment_heads=network.alignment_heads)
        self.decoder = SimpleNamespace(blocks=blocks)
        self._logits = logits

    def __call__(self, mel: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.decoder.blocks:
            block.cross_attn()
        return self._logits


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
