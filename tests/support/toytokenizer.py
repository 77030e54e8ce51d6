"""A byte-level BPE tokenizer of a few merges, as language models have them."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = "the kettle sings in the kitchen. the tea is green and hot. frogs live near clean water in the spring. "
END = "<end>"


def make_tokenizer() -> Tokenizer:
    """Train it; the same every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT * 9, "[image: ] [audio: ]"], trainer)
    return tokenizer


def save_tokenizer(folder: Path) -> Path:
    """Save it as transformers does."""
    from transformers import PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(), eos_token=END, pad_token=END)
    fast.save_pretrained(folder)
    return folder
