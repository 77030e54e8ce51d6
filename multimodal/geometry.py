"""The geometric half of open_clip's preprocessing, with Pillow alone: a child that decodes needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_RATIO = 32  # of a picture's sides


@dataclass(frozen=True)
class Geometry:
    """How a model wants a picture's pixels: height and width, and how to come to them (open_clip's preprocess_cfg)."""

    height: int
    width: int
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read it from a model's preprocess_cfg, whose size is a number or [height, width]."""
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        interpolation: Literal["bilinear", "bicubic"] = (
            "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        )
        return cls(height, width, config["resize_mode"] or "shortest", interpolation, config["fill_color"])

    def fit(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return an RGB picture's pixels, [height, width, 3], bit for bit as open_clip's transform does before scaling
        them; a strip over 32 times longer than wide is cut to its middle first."""
        image = middle_of_strip(image)
        how = Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC
        if self.mode == "shortest" and self.height != self.width:
            how = Image.Resampling.BICUBIC  # whatever the configuration says: open_clip forgets it here
        size = self._scaled(*image.size)
        small = image if image.size == size else image.resize(size, how)
        return np.asarray(self._crop(self._pad(small)))

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        if self.mode == "squash":
            return self.width, self.height
        if self.mode == "shortest" and self.height == self.width:  # torchvision's Resize cuts fractions off
            short = min(width, height)
            return int(self.width * width / short), int(self.width * height / short)
        either = max if self.mode == "longest" else min
        ratio = either(height / self.height, width / self.width)
        return round(width / ratio), round(height / ratio)

    def _pad(self, image: Image.Image) -> Image.Image:
        wide, high = max(0, self.width - image.width), max(0, self.height - image.height)
        if not wide and not high:
            return image
        border = (wide // 2, high // 2, (wide + 1) // 2, (high + 1) // 2)
        return ImageOps.expand(image, border, (self.fill,) * 3)

    def _crop(self, image: Image.Image) -> Image.Image:
        left, top = round((image.width - self.width) / 2), round((image.height - self.height) / 2)
        return image.crop((left, top, left + self.width, top + self.height))


def middle_of_strip(image: Image.Image) -> Image.Image:
    """Cut a picture over 32 times longer than wide to its middle, 32 times as long as wide; return others as they are.

    Resizing by the longest side would leave it no pixel of width, by the shortest gigabytes of length.
    """
    width, height = image.size
    long, short = max(width, height), min(width, height)
    cut = max(0, long - MAX_RATIO * short)
    if not cut:
        return image
    first, last = cut // 2, cut // 2 + MAX_RATIO * short
    return image.crop((first, 0, last, height) if width > height else (0, first, width, last))
