"""Causal language models: the only place where their weights are loaded, adapted, merged and saved."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog import models
from catalog.errors import InputError, ModelUnavailable
from catalog.models import Weights
from trainer.settings import GenerationArgs, TrainingArgs
from trainer.store import publish_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("headrace")


class LanguageModel:
    """A causal LM and its tokenizer, on the device that it was loaded to."""

    def __init__(self, name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.name = name
        self.model: Any = model
        self.tokenizer: Any = tokenizer

    def encode(self, text: str) -> list[int]:
        """Tokenize a text without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @property
    def device(self) -> str:
        """The type of the device that the weights are on: cpu or cuda."""
        return str(self.model.device.type)

    @property
    def end(self) -> int:
        """The token that ends a document."""
        token = self.tokenizer.eos_token_id
        assert token is not None, "load_model refuses tokenizers without an end token"
        return int(token)

    def add_adapter(self, args: TrainingArgs) -> None:
        """Put new LoRA adapters, which change nothing yet, on the frozen model; seeded by the settings."""
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(args.seed)
        targets = args.lora.target_modules
        config = LoraConfig(
            r=args.lora.r,
            lora_alpha=args.lora.alpha,
            lora_dropout=args.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type="CAUSAL_LM",
        )
        with _hushed():
            self.model = get_peft_model(self.model, config)

    def save_adapter(self, folder: Path) -> None:
        """Write the adapters' weights and configuration to a folder, byte-identical for the same weights."""
        config = self.model.peft_config["default"]
        config.target_modules = sorted(config.target_modules)  # a set, whose order differs from process to process
        config.base_model_name_or_path = self.name
        self.model.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)  # peft's card, which names this machine's paths

    def load_adapter(self, folder: Path) -> None:
        """Put trained adapters on the model."""
        from peft import PeftModel

        with _hushed():
            self.model = PeftModel.from_pretrained(self.model, folder)

    def merge(self) -> None:
        """Fold the adapters into the weights."""
        self.model = self.model.merge_and_unload()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer to a folder, whole or not at all."""

        def write(aside: Path) -> None:
            self.model.save_pretrained(aside)
            self.tokenizer.save_pretrained(aside)

        publish_folder(folder, write)

    def generate(self, prompt: str, args: GenerationArgs, seed: int) -> str:
        """Sample a continuation of a prompt; the same seed gives the same text and leaves torch's generator alone."""
        import torch
        from transformers import GenerationConfig

        make_config: Any = GenerationConfig  # untyped upstream
        config = make_config(
            **args.model_dump(),
            eos_token_id=self.end,
            pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True,
            remove_invalid_values=True,  # a diverged candidate must reach the gate, not crash its round every hour
        )
        given = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=False).to(self.model.device)
        self.model.eval()
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed)
            tokens = self.model.generate(**given, generation_config=config)
        return str(self.tokenizer.decode(tokens[0, given["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


def load_model(weights: Weights, device: str = "cpu") -> LanguageModel:
    """Load a causal LM in fp32 from a folder, a packaged GGUF or the hub; raise ModelUnavailable with the remedy."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet()
    source = _source(weights)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        first = " ".join(str(error).split())[:200]
        raise ModelUnavailable(f"{models.remedy('lm', weights.name)} ({first})") from error
    if tokenizer.eos_token_id is None:
        raise ModelUnavailable(f"{weights.name}: its tokenizer has no end token; set models.lm to a causal LM")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LanguageModel(weights.name, model.to(device), tokenizer)


def load_soft_model(folder: Path, device: str = "cpu") -> tuple[Any, Any]:
    """Load a model of LLaVA's kind and its tokenizer from a folder; raise InputError if there is none."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    quiet()
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no multimodal model can be read here ({' '.join(str(error).split())[:200]})"
        ) from error
    if not hasattr(model.model, "multi_modal_projector") or model.config.image_token_id is None:
        raise InputError(f"{folder}: {type(model).__name__} has no multi_modal_projector; give a model of LLaVA's kind")
    return model.to(device).eval(), tokenizer


def quiet() -> None:
    """Keep transformers' own progress bars and chatter off standard error; ours says what matters."""
    from transformers.utils import logging

    chatter: Any = logging  # untyped upstream
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()


@contextmanager
def _hushed() -> Iterator[None]:
    """Ignore one warning of transformers at a name that peft still asks for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def _source(weights: Weights) -> str | Path:
    if weights.path is None:
        return weights.name
    return weights.path if weights.path.is_dir() else _converted(weights.path, weights.revision)


def _converted(gguf: Path, revision: str) -> Path:
    """Return the folder of a GGUF file's dequantized weights; the first call writes it to the cache."""
    if gguf.suffix != ".gguf":
        raise ModelUnavailable(
            f"{gguf}: not a model; set models.lm to a folder with config.json, a .gguf file or a name"
        )
    folder = models.cache_dir() / f"lm-{gguf.stem}-{revision.removeprefix('local:')}"
    if not folder.is_dir():
        log.info("train: converting %s to safetensors, once", gguf.name)
        publish_folder(folder, lambda aside: _convert(gguf, aside))
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with redirect_stderr(io.StringIO()):  # a progress bar that no setting of transformers turns off
            model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except ImportError as error:
        raise ModelUnavailable(f"{gguf.name}: reading GGUF needs another package: pip install gguf") from error
    # transformers has dequantized the weights but still calls the model quantized, and refuses to save it
    model.hf_quantizer = None
    model.is_quantized = False
    with suppress(AttributeError):
        del model.quantization_method
    with suppress(AttributeError):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
