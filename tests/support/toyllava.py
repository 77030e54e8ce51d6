"""A real tiny model of LLaVA's kind, with random weights, saved with a tokenizer as transformers saves one."""

from pathlib import Path
from typing import Any

from toytokenizer import save_tokenizer


def make_llava(folder: Path, width: int) -> Path:
    """Write a LLaVA of about 100,000 weights whose projector takes features of `width` numbers."""
    import torch
    from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    words: Any = AutoTokenizer.from_pretrained(save_tokenizer(folder))
    words.add_tokens(["<image>", "<audio>"], special_tokens=True)
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=words.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    model: Any = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
