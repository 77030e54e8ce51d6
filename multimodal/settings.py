"""What this package lets a configuration say: sections `embed`, `transcribe` and `fuse`."""

from pathlib import Path
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, ByteSize, Field, ValidationInfo, field_validator, model_validator

from catalog.settings import Settings

LABELS = (
    "person", "face", "crowd", "animal", "bird", "cat", "dog", "fish", "frog", "insect", "horse", "monkey", "panda",
    "flower", "tree", "fruit", "apple", "vegetable", "food", "drink", "cup of tea", "car", "bicycle", "train",
    "airplane", "ship", "rocket", "building", "house", "city", "street", "mountain", "volcano", "sea", "sky", "moon",
    "sun", "lantern", "furniture", "tool", "clothes", "toy", "musical instrument", "computer", "telephone", "book",
    "money", "map", "chart", "diagram", "screenshot", "page of text", "logo", "sign", "flag", "drawing", "painting",
    "photograph",
)  # fmt: skip


def _language(value: str) -> str:
    """Refuse what no text's language is ever called."""
    if not (value.isascii() and value.isalpha() and value.islower() and len(value) in (2, 3)):
        raise ValueError(f"'{value}' is no ISO 639 code; write it as en or zh, without script and region")
    return value


Language = Annotated[str, AfterValidator(_language)]


class EmbedSettings(Settings):
    """How pictures and texts become vectors; every field changes results."""

    labels: tuple[str, ...] = LABELS  # zero-shot tags are chosen among these; empty for none
    prompt: str | None = None  # put around a label, e.g. "a photo of a {}"; default: what the model's files declare
    num_tags: int = Field(default=5, ge=0)
    max_pixels: int = Field(default=40_000_000, ge=1)
    max_bytes: ByteSize = Field(default=ByteSize(50_000_000), ge=1)
    max_frames: int = Field(default=1_000, ge=1)  # of an animation, or pages of a TIFF; the first is looked at
    max_seconds: float = Field(default=30.0, gt=0)  # for decoding one file, before its process is killed
    film_frames: int = Field(default=8, ge=1)  # key frames looked at of a film
    thumbnail_side: int = Field(default=256, ge=16, le=512)
    min_side: int = Field(default=1, ge=1)  # pixels; pictures below are turned away
    max_aspect: float | None = Field(default=None, ge=1)  # longer side over shorter; pictures above are turned away
    aesthetic: Path | None = None  # a linear head over the CLIP vectors: .safetensors, .npz or .pth
    min_aesthetic: float | None = None  # pictures with a lower score are turned away
    tag_temperature: float | None = Field(default=None, gt=0)  # above 1: less sure tags; default: the model's own
    tag_none: float | None = Field(default=None, ge=-1, le=1)  # the cosine of "none of these"; default: the model's own
    patches: bool = False  # write image_patches: features by place before pooling, for soft tokens
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 for transformers where the machine has it
    batch_size: int = Field(default=16, ge=1)  # pictures a model call
    caption_tokens: int = Field(default=40, ge=1)  # the most that models.captioner may write

    @model_validator(mode="after")
    def _can_be_scored(self) -> Self:
        if self.min_aesthetic is not None and self.aesthetic is None:
            raise ValueError("min_aesthetic needs aesthetic, the file of a linear head that gives the scores")
        return self

    @field_validator("prompt")
    @classmethod
    def _holds_the_label(cls, value: str | None) -> str | None:
        if value is not None and value.count("{}") != 1:
            raise ValueError("write {} once, where the label belongs, e.g. 'a photo of a {}'")
        return value


class TranscribeSettings(Settings):
    """How recordings become text; every field changes results."""

    backend: Literal["auto", "whisper", "faster-whisper"] = "auto"  # auto: faster-whisper where it is installed
    compute_type: Literal["float32", "int8"] = "float32"  # of faster-whisper on a CPU; on a GPU it is float16
    language: Language | None = None  # ISO 639-1; default: heard by the model in each recording, which is slower
    beam_size: int = Field(default=1, ge=1, le=10)  # 1 is greedy; what is doubtful is heard again with 5
    share_windows: bool = True  # between recordings: faster, but what is heard depends a little on the others
    words: bool = True  # times and confidence of every word
    max_seconds: float = Field(default=3600.0, gt=0)
    max_bytes: ByteSize = Field(default=ByteSize(200_000_000), ge=1)
    decode_seconds: float = Field(default=60.0, gt=0)  # that decoding one file may take before it is given up
    speech_threshold: float = Field(default=0.5, gt=0, lt=1)  # silero's probability from which a sound is speech
    states: bool = False  # keep the encoder's states of speech, averaged over 0.16 s, for soft tokens


TEMPLATE_FIELDS = {
    "text": {"text"},
    "image": {"description", "caption", "alt", "generated", "tags"},
    "audio": {"description", "caption", "alt", "transcript"},
    "missing": {"kind", "description", "caption", "alt"},
}


class FuseTemplate(Settings):
    """How an example reads for a model that knows text alone; a line whose fields are all empty is left out."""

    text: str = "{text}"
    image: str = "[image: {description}]"  # the caption, alt text, generated caption and tags that there are
    audio: str = "[audio: {transcript}]"
    missing: str = "[{kind}: {description}]"  # media that was not fetched or could not be read
    separator: str = "\n\n"
    image_token: str = ""  # such as <image>, before each picture that has features for soft tokens
    audio_token: str = ""
    joint: str = "; "  # between caption, alt text and tags in a description
    tag_joint: str = ", "
    labels: dict[str, str] = Field(default_factory=dict)  # what a tag is called, such as {moon: 月亮}

    @field_validator(*TEMPLATE_FIELDS)
    @classmethod
    def _uses_known_fields(cls, value: str, info: ValidationInfo) -> str:
        known = TEMPLATE_FIELDS[str(info.field_name)]
        try:
            fields = [field for field in Formatter().parse(value) if field[1] is not None]
        except ValueError as error:
            raise ValueError(f"{error}; write {{{{ and }}}} for braces") from error
        if any(spec or conversion for _, _, spec, conversion in fields):
            raise ValueError("write fields as {name} alone, without a format")
        used = {str(name) for _, name, _, _ in fields}
        if unknown := used - known:
            raise ValueError(f"unknown field {{{sorted(unknown)[0]}}}; known: {', '.join(sorted(known))}")
        return value


class FuseSettings(Settings):
    """How documents and their media become training examples; every field changes results."""

    template: FuseTemplate = FuseTemplate()
    languages: dict[Language, FuseTemplate] = Field(default_factory=dict)  # templates of documents in these (ISO 639-1)
    num_tags: int = Field(default=3, ge=0)
    min_tag_score: float = Field(default=0.5, ge=0, le=1)  # what a small CLIP says below it is often wrong
    val: float = Field(default=0.1, ge=0, lt=1)  # share of duplicate clusters held out for choosing between models
    test: float = Field(default=0.1, ge=0, lt=1)  # share held out for the final word on a model
    max_tokens: int | None = Field(default=None, ge=16)  # of models.lm in an example; longer documents become several

    def template_of(self, language: str | None) -> FuseTemplate:
        """Return the template for documents in a language."""
        return self.languages.get(language or "", self.template)

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError("val and test together must leave a share for train")
        return self


class MultimodalSettings(Settings):
    """The sections of this package."""

    embed: EmbedSettings = EmbedSettings()
    transcribe: TranscribeSettings = TranscribeSettings()
    fuse: FuseSettings = FuseSettings()
