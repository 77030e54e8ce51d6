"""Planted copies of pictures and recordings: what sites do to them, step by step."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

RATE = 16_000
Samples = NDArray[np.float32]


@dataclass
class Planted:
    """Files in a folder, and which pairs of them are copies, by what was done to the second."""

    names: list[str] = field(default_factory=list)
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)

    def original(self, name: str) -> str:
        """Return the file that a file was made from, itself if it is none's copy."""
        return next((one for one, other in self.pairs if other == name), name)


def _jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    def encode(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")

    return encode


def _cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    def crop(image: Image.Image) -> Image.Image:
        width, height = (round(side * share / 2) for side in image.size)
        return image.crop((width, height, image.width - width, image.height - height))

    return crop


def _captioned(image: Image.Image) -> Image.Image:
    made = image.copy()
    top = round(made.height * 0.88)
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, top, made.width, made.height), fill=(0, 0, 0))
    draw.text((4, top + 2), "www.example.org", fill=(255, 255, 255))
    return made


def _resized(scale: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.resize((max(8, round(image.width * scale)), max(8, round(image.height * scale))))


PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized to 50 %": _resized(0.5),
    "resized to 150 %": _resized(1.5),
    "JPEG 60": _jpeg(60),
    "JPEG 20": _jpeg(20),
    "brighter by 25 %": lambda image: ImageEnhance.Brightness(image).enhance(1.25),
    "recoloured": lambda image: ImageEnhance.Color(image).enhance(0.4),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "caption over it": _captioned,
    "cropped by 5 %": _cropped(0.05),
    "cropped by 15 %": _cropped(0.15),
    "rotated by 3°": lambda image: image.rotate(3, fillcolor=(255, 255, 255)),
    "rotated by 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
}


def pictures(source: Path, folder: Path) -> Planted:
    """Write each picture of a folder, and one copy of it for each step of the ladder, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Planted()
    for path in sorted(source.glob("*.png")):
        picture = Image.open(path).convert("RGBA")
        plain = Image.new("RGB", picture.size, (255, 255, 255))
        plain.paste(picture, mask=picture.getchannel("A"))
        original = f"a0-{path.stem}.png"  # a folder is read in order: originals come first
        plain.save(folder / original)
        made.names.append(original)
        for number, (step, change) in enumerate(PICTURES.items()):
            name = f"b{number:02d}-{path.stem}.png"
            change(plain).save(folder / name)
            made.names.append(name)
            made.pairs[original, name] = step
    return made


def _gain(samples: Samples) -> Samples:
    return (samples * 0.6).astype(np.float32)


def _trimmed(share: float) -> Callable[[Samples], Samples]:
    return lambda samples: samples[round(len(samples) * share / 2) : len(samples) - round(len(samples) * share / 2)]


def _noisy(samples: Samples) -> Samples:
    noise = np.random.default_rng(5).normal(0, 0.005, len(samples))
    return (samples + noise).clip(-1, 1).astype(np.float32)


def _same(samples: Samples) -> Samples:
    return samples


# step → what is done to the samples, the file's suffix, its codec, its sampling rate
SOUNDS: dict[str, tuple[Callable[[Samples], Samples], str, str, int]] = {
    "FLAC": (_same, "flac", "flac", RATE),
    "MP3": (_same, "mp3", "libmp3lame", RATE),
    "Opus": (_same, "ogg", "libopus", RATE),
    "AAC": (_same, "m4a", "aac", RATE),
    "at 8 kHz": (_same, "wav", "pcm_s16le", 8000),
    "at 60 % gain": (_gain, "wav", "pcm_s16le", RATE),
    "with noise": (_noisy, "wav", "pcm_s16le", RATE),
    "trimmed by 3 %": (_trimmed(0.03), "wav", "pcm_s16le", RATE),
    "trimmed by 20 %": (_trimmed(0.2), "wav", "pcm_s16le", RATE),
}


def sounds(sources: list[Path], folder: Path) -> Planted:
    """Write each recording as WAV at 16 kHz, and one copy of it for each step of the ladder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Planted()
    for path in sources:
        samples = np.concatenate(list(_samples(path)))
        original = f"a0-{path.stem}.wav"
        _write(folder / original, samples, "pcm_s16le", RATE)
        made.names.append(original)
        for number, (step, (change, suffix, codec, rate)) in enumerate(SOUNDS.items()):
            name = f"b{number:02d}-{path.stem}.{suffix}"
            _write(folder / name, change(samples), codec, rate)
            made.names.append(name)
            made.pairs[original, name] = step
    return made


def _samples(path: Path) -> Iterator[Samples]:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = (one for frame in container.decode(audio=0) for one in resampler.resample(frame))
        for frame in [*frames, *resampler.resample(None)]:
            yield frame.to_ndarray().reshape(-1).astype(np.float32) / 32768


def _write(path: Path, samples: Samples, codec: str, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        whole = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(
            format=stream.format.name, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size or 0
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
