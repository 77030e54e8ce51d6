"""Wrong input ends in one line and the documented exit code, never in a traceback."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from storybook import Story

from catalog import cli

NOT_UTF8 = "a\udcff"  # how Python hands over the byte ff


def call(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["headrace", *args])
    logger = logging.getLogger("headrace")
    for name in ("handlers", "level", "propagate"):  # which the command line sets: put back when the test ends
        monkeypatch.setattr(logger, name, getattr(logger, name))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    "args",
    [
        ("why", NOT_UTF8), ("sql", f"SELECT '{NOT_UTF8}'"), ("export", "--output", "x", "--where", NOT_UTF8),
        ("search", "--text", NOT_UTF8), ("search", "--like", NOT_UTF8),
    ],
)  # fmt: skip
def test_what_is_not_utf8_is_wrong_usage(
    story: Story, args: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *args, "--root", str(story.home.root)) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_an_error_of_ours_is_one_line(
    story: Story, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "sql", "DROP TABLE pages", "--root", str(story.home.root)) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: sql: only SELECT is possible here")
    assert said.count("\n") == 1


@pytest.mark.parametrize("as_json", [False, True])
def test_results_are_printed_in_encodings_that_lack_their_letters(
    as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    cli.show({"title": "青蛙"}, as_json, lambda result, console: console.print(result["title"]))
    sys.stdout.flush()
    said = printed.getvalue().decode("ascii")
    assert (json.loads(said) == {"title": "青蛙"}) if as_json else (said.strip() == r"\u9752\u86d9")


def test_who_runs_a_command_has_a_number_where_there_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert cli.user() == "ada"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_242_424)
    assert cli.user() == "4242424"


def test_a_home_that_is_not_there_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "status", "--root", str(tmp_path / "none")) == 1
    assert "run 'headrace run CONFIG' first" in capsys.readouterr().err


HEAVY = "pandas pyiceberg sqlalchemy fsspec requests aiohttp torch ray spacy transformers open_clip trafilatura faiss"
LISTED = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); from catalog import cli; "


@pytest.mark.parametrize(
    ("words", "more"),
    [(("status",), ""), (("why", "https://no.example/"), "duckdb yaml"), (("search", "--help"), "duckdb pyarrow yaml")],
    ids=["status", "why", "help"],
)
def test_a_question_imports_nothing_heavy(story: Story, words: tuple[str, ...], more: str) -> None:
    story.home.settle()  # as a run leaves a home
    place = () if "--help" in words else ("--root", str(story.home.root))
    asked = subprocess.run(
        [sys.executable, "-c", f"{LISTED} cli.main()", *words, *place], capture_output=True, text=True
    )
    assert asked.returncode == 0, asked.stderr
    imported = {name.partition(".")[0] for name in asked.stderr.splitlines()[-1].split()}
    assert imported & {*HEAVY.split(), *more.split()} == set()
