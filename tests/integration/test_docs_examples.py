"""docs/chinese-page.md shows what the program prints, and the code of docs/examples.md runs on that page's home."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from toyllava import make_llava

from catalog import examples
from catalog import run as running
from catalog.home import Home
from catalog.models import resolve
from catalog.settings import Config
from multimodal.settings import MultimodalSettings
from trainer.settings import TrainerSettings

REPO = Path(__file__).parents[2]
MEDIA = REPO / "examples" / "site"


def blocks(page: str, language: str) -> list[str]:
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of the guide was run."""
    if resolve("whisper", "tiny.en").path is None:
        pytest.skip("needs the extra offline-models")
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "page").mkdir()
    (html,), (config,) = blocks("chinese-page.md", "html"), blocks("chinese-page.md", "yaml")
    (folder / "page" / "frogs.html").write_text(html, encoding="utf-8")
    for name in ("img/frog.png", "audio/frogs.ogg"):
        shutil.copy(MEDIA / name, folder / "page")
    given = yaml.safe_load(config) | {"root": str(folder / ".headrace"), "data_sources": [str(folder / "page")]}
    running.run(Config(given))
    return folder


def test_the_page_shows_what_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    home = Home.open(Config({"root": str(folder / ".headrace")}).catalog)
    examples.render(examples.show(home, (folder / "page" / "frogs.html").as_uri()), Console(width=80))
    printed = capsys.readouterr().out.replace(folder.as_uri(), "file:///home/me")
    (shown,) = blocks("chinese-page.md", "text")
    # the id and the split follow from the URL, which is another here
    follows = re.compile(r"(?<=^example )[0-9a-f]{12}|(?<=\(zh, )(train|val|test)")
    assert follows.sub("…", printed).strip() == follows.sub("…", shown).strip()


def test_the_guides_code_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    view = Home.open(Config({"root": ".headrace"}).catalog).view()
    (shape,) = view.read("image_patches", ["shape"])["shape"].to_pylist()
    make_llava(folder / "llava", shape[-1])
    exec("\n".join(blocks("examples.md", "python")), {})
    printed = capsys.readouterr().out
    assert "image_patches (4, 768)" in printed
    assert "0.0 s: Clean water is very important to frogs" in printed
    losses = [float(loss) for loss in re.findall(r"step \d: ([\d.]+) nats", printed)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]


def test_the_guides_settings_load() -> None:
    fuse, balance = map(yaml.safe_load, blocks("examples.md", "yaml"))
    assert MultimodalSettings.parse(fuse, "docs/examples.md").fuse.languages["zh"].labels == {"frog": "青蛙"}
    assert TrainerSettings.parse(balance, "docs/examples.md").balance.shares == {"news": 0.5}
