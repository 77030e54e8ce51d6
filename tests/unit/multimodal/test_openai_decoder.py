"""Our pass through openai-whisper's decoder against its own, with a small network of random weights."""

import warnings
from typing import Any

import pytest
import torch
import whisper
from whisper.model import ModelDimensions, Whisper
from whisper.timing import add_word_timestamps
from whisper.tokenizer import get_tokenizer

from multimodal.engines import Row, Sound
from multimodal.openai_decoder import ClipInference, Memory
from multimodal.openai_engine import OpenAIEngine

END = 50256
DIMENSIONS = ModelDimensions(
    n_mels=80, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=1,
    n_vocab=51864, n_text_ctx=448, n_text_state=16, n_text_head=2, n_text_layer=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(3)
    with warnings.catch_warnings():  # whisper never closes its vocabulary; it is read once, here
        warnings.simplefilter("ignore", ResourceWarning)
        get_tokenizer(False)
    made = Whisper(DIMENSIONS).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.requires_grad_(False)


def states(num: int, length: int = 50) -> torch.Tensor:
    return torch.randn(num, length, 16, generator=torch.Generator().manual_seed(num))


def test_clips_of_any_length_are_heard_as_in_windows_of_silence_until_their_row_ends(network: Any) -> None:
    silence, clips, starts = states(1), [states(2, 7)[0], states(3, 12)[1], states(4, 3)[2]], [5, 0, 47]
    windows = torch.from_numpy(Sound([clip.numpy() for clip in clips], starts, silence[0].numpy()).windows())
    memory = Memory(network.decoder, clips, starts, Memory(network.decoder, list(silence)))
    inference = ClipInference(network, memory, END)
    tokens = torch.tensor([[9, 8], [7, 6], [5, 4]])
    torch.testing.assert_close(inference.logits(tokens, windows), network.decoder(tokens, windows))
    for added in ([3, END, 2], [1, END, END], [0, END, END]):
        tokens = torch.cat([tokens, torch.tensor(added)[:, None]], 1)
        found = inference.logits(tokens, windows)
        going = tokens[:, -1] != END
        torch.testing.assert_close(found[going], network.decoder(tokens, windows)[going, -1:])
        assert not found[~going].any()


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # whisper sorts a tensor by numpy
@pytest.mark.parametrize("options", [{}, {"beam_size": 3}, {"temperature": 0.7, "best_of": 2}])
def test_whole_windows_are_decoded_as_whisper_does(network: Any, options: dict[str, Any]) -> None:
    windows = states(1 if options else 3)
    torch.manual_seed(5)
    expected = whisper.decode(
        network, windows, whisper.DecodingOptions(language="en", fp16=False, sample_len=9, **options)
    )
    torch.manual_seed(5)
    found = OpenAIEngine(network)._decode(Sound(list(windows.numpy())), "en", sample_len=9, **options)
    assert [item.tokens for item in found] == [item.tokens for item in expected]
    assert [item.avg_logprob for item in found] == pytest.approx([item.avg_logprob for item in expected], rel=1e-3)


def test_words_get_the_times_that_whisper_gives_them(network: Any) -> None:
    tokenizer = get_tokenizer(False)
    sound = torch.randn(80, 100, generator=torch.Generator().manual_seed(1))

    def segments() -> list[Row]:
        tokens = tokenizer.encode(" All is well in the house by the sea.")
        return [{"seek": 0, "start": 0.0, "end": 1.0, "tokens": tokens, "words": []}]

    expected, found = segments(), segments()
    add_word_timestamps(
        segments=expected, model=network, tokenizer=tokenizer, mel=sound, num_frames=80, last_speech_timestamp=0.0
    )
    encoded = network.encoder(sound[None])
    OpenAIEngine(network).time_words(Sound(list(encoded.numpy())), 80, "en", found)
    assert [(word["word"], word["start"], word["end"]) for word in found[0]["words"]] == [
        (word["word"], word["start"], word["end"]) for word in expected[0]["words"]
    ]
    assert len({word["end"] for word in found[0]["words"]}) > 3
