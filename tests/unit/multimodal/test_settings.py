"""The sections of this package."""

import pytest

from catalog.errors import ConfigError
from multimodal.settings import MultimodalSettings


def test_defaults_need_nothing() -> None:
    settings = MultimodalSettings.parse({}, "test")
    assert settings.embed.labels
    assert settings.transcribe.backend == "auto"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"embed": {"prompt": "a photo"}}, "embed.prompt"),
        ({"embed": {"labls": []}}, "labels"),
        ({"embed": {"max_pixels": 0}}, "embed.max_pixels"),
        ({"transcribe": {"backend": "wisper"}}, "transcribe.backend"),
        ({"transcribe": {"beam_size": 0}}, "transcribe.beam_size"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MultimodalSettings.parse(given, "test")
