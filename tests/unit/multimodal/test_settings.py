"""The sections of this package."""

import re
from pathlib import Path

import pytest
import yaml

from catalog import sql
from catalog.errors import ConfigError
from catalog.home import Home
from catalog.settings import Config
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
        ({"embed": {"min_aesthetic": 5}}, "min_aesthetic needs aesthetic"),
        ({"transcribe": {"backend": "wisper"}}, "transcribe.backend"),
        ({"transcribe": {"beam_size": 0}}, "transcribe.beam_size"),
        ({"transcribe": {"language": "english"}}, "transcribe.language: .*no ISO 639 code"),
        ({"fuse": {"languages": {"zh-Hans": {"image": ""}}}}, "'zh-Hans' is no ISO 639 code"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        MultimodalSettings.parse(given, "test")


def test_the_guides_configurations_load_and_its_query_runs(repo: Path, tmp_path: Path) -> None:
    guide = (repo / "docs" / "media.md").read_text(encoding="utf-8")
    sections = [Config(yaml.safe_load(block)).section(MultimodalSettings).embed for block in blocks(guide, "yaml")]
    assert [(item.patches, item.min_aesthetic) for item in sections] == [(True, None), (False, 4.5)]
    home = Home.open(Config({"root": str(tmp_path)}).catalog)
    assert [sql.query(home, query)["rows"] for query in blocks(guide, "sql")] == [[]]


def blocks(guide: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)
