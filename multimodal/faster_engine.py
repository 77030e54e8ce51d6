"""faster-whisper (CTranslate2) as an engine; one model serves many threads."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

from multimodal.engines import RETRY_BEAM, Decoding, Floats, Row, Samples, Sound, padded

MAX_INITIAL_TIMESTAMP = 50  # states: one second, as in both implementations' own transcribe
PREPENDED, APPENDED = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"  # punctuation that belongs to a word, as they have it


class FasterEngine:
    """faster-whisper; see `engines.Engine`."""

    def __init__(self, network: WhisperModel) -> None:
        self._network = network
        self.is_multilingual = bool(network.model.is_multilingual)

    def spectrogram(self, samples: Samples, frames: int) -> Floats:
        """See `Engine`."""
        mel = self._network.feature_extractor(padded(samples, frames), padding=0)
        return np.asarray(mel[:, :frames], np.float32)

    def encode(self, spectrograms: Floats) -> Floats:
        """See `Engine`."""
        states = self._network.encode(np.ascontiguousarray(spectrograms))
        return np.array(states.to_device(ctranslate2.Device.cpu), np.float32)

    def hear_language(self, states: Floats) -> tuple[str, float]:
        """See `Engine`."""
        ((token, probability), *_) = self._network.model.detect_language(_view(states[None]))[0]
        return token.strip("<|>"), float(probability)

    def decode(self, sound: Sound, language: str, beam_size: int) -> list[Decoding]:
        """See `Engine`."""
        return self._decode(sound, language, beam_size=beam_size)

    def retries(self, states: Floats, language: str, seed: int) -> Iterator[Decoding]:
        """See `Engine`: a beam, then one that may not repeat itself.

        CTranslate2 seeds each of its threads once, so its samples are never the same again: none are drawn.
        """
        sound = Sound([states])
        yield from self._decode(sound, language, beam_size=RETRY_BEAM)
        yield from self._decode(sound, language, beam_size=RETRY_BEAM, no_repeat_ngram_size=3, repetition_penalty=1.2)

    def _decode(self, sound: Sound, language: str, **options: Any) -> list[Decoding]:
        tokenizer = self.tokenizer(language)
        prompt = self._network.get_prompt(tokenizer, [], without_timestamps=False)
        prompts = [[*prompt, *([] if sound.starts is None else [tokenizer.timestamp_begin + sound.starts[at]])]
                   for at in range(len(sound.states))]  # fmt: skip
        results = self._network.model.generate(
            _view(sound.windows()), prompts, max_length=self._network.max_length, return_scores=True,
            return_no_speech_prob=True, suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP, **options,
        )  # fmt: skip
        return [_decoding(item) for item in results]

    def tokenizer(self, language: str) -> Any:
        """See `Engine`."""
        return _tokenizer(self._network, language)

    def time_words(self, sound: Sound, num_frames: int, language: str, segments: list[Row]) -> None:
        """See `Engine`."""
        windows = sound.windows([0])  # where its alignment looks
        self._network.add_word_timestamps(
            [segments], self.tokenizer(language), _view(windows), [num_frames], PREPENDED, APPENDED, 0.0
        )


@lru_cache(maxsize=128)
def _tokenizer(network: WhisperModel, language: str) -> Tokenizer:
    return Tokenizer(network.hf_tokenizer, network.model.is_multilingual, task="transcribe", language=language)


def _decoding(result: Any) -> Decoding:
    tokens = result.sequences_ids[0]
    # the score is a mean over the tokens; Whisper's own counts the end as one more
    return Decoding(tokens, result.scores[0] * len(tokens) / (len(tokens) + 1), result.no_speech_prob)


def _view(states: Floats) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(states))
