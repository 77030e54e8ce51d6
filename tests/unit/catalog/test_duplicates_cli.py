"""`headrace duplicates` as a user meets it."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import storybook
import yaml

from catalog import cli
from catalog.duplicates_cli import duplicates_app
from catalog.settings import Config


class Run(Protocol):
    """Runs one command on the story's home."""

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code and what was printed."""


@pytest.fixture
def story(tmp_path: Path) -> Iterator[storybook.Story]:
    told = storybook.tell(tmp_path / "home")
    yield told
    told.home.close()


@pytest.fixture
def run(story: storybook.Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["headrace", "duplicates", *arguments, "--root", str(story.home.root)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


def told(run: Run, *arguments: str) -> dict[str, Any]:
    code, printed = run(*arguments, "--json")
    assert code == 0, printed
    found: dict[str, Any] = json.loads(printed)
    return found


def test_a_steward_lists_shows_rejects_and_undoes(run: Run, story: storybook.Story, tmp_path: Path) -> None:
    page = tmp_path / "pairs.html"
    found = told(run, "list", "--html", str(page))
    assert found["counts"] == {"exact": {"decided": 1}}
    assert [(pair["url"], pair["kept_url"]) for pair in found["pairs"]] == [
        (f"{storybook.SITE}b", f"{storybook.SITE}a")
    ]
    assert "https://story.example/a" in page.read_text()
    shown = told(run, "show", f"{storybook.SITE}b")
    assert (shown["pairs"][0]["kept"]["title"], shown["pairs"][0]["difference"]) == ("Title of a", [])
    said = told(run, "reject", f"{storybook.SITE}b", "--reason", "not so", "--who", "ada")
    assert (said["verdict"], said["new"]) == ("distinct", 1)
    code, printed = run("list", "--state", "rejected")
    assert code == 0
    assert printed.startswith("rejected: ")
    assert told(run, "undo", story.documents["b"]["document_id"])["new"] == 1
    assert told(run, "list")["counts"] == {"exact": {"decided": 1}}
    code, printed = run("list", "--html", str(page / "below a file.html"))
    assert code == 1
    assert "cannot be written" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "https://story.example/a"), 1, "no decision on it; see 'headrace duplicates list'"),
        (("accept", "b", "--kept", "nobody"), 1, "no decision with nobody on it"),
        (("list", "--kind", "rhyme"), 2, "none of exact, minhash, semantic, image, audio"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, printed = run(*arguments)
    assert ended == code
    assert said in " ".join(printed.replace("│", " ").split())


def test_the_guide_names_settings_and_commands_that_exist(repo: Path) -> None:
    text = (repo / "docs" / "duplicates.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert Config(yaml.safe_load(example)).catalog.dedup.semantic_threshold == 0.97
    known = {command.name for command in duplicates_app.registered_commands}
    assert set(re.findall(r"headrace duplicates (\w+)", text)) == known
