"""Progress: a bar on a terminal, log lines elsewhere; standard output stays clean."""

import io
import logging
import sys

import pytest

from catalog import progress


def test_without_a_terminal_progress_is_logged_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "headrace"), progress.bar("embed", 40) as bar:
        bar.advance(10)  # after 1 s: too early to speak
        bar.advance(10)  # after 10 s
        bar.note("half way")
    assert caplog.messages == ["embed: 20/40 (2.0/s, 10 s left)", "embed: half way"]
    assert capsys.readouterr().out == ""


def test_a_line_without_total_or_work_promises_nothing() -> None:
    assert progress.Bar("crawl", None).line() == "crawl: 0 (0.0/s)"
    assert "left" not in progress.Bar("crawl", 0).line()
    assert "left" not in progress.Bar("crawl", 5).line()


def test_on_a_terminal_a_bar_is_drawn_on_standard_error_and_removed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ZeroDivisionError), progress.bar("embed", 10) as bar:
        bar.advance(4)
        bar.note("kept 3 of [/a] loss 1.5")  # no markup is read into it
        raise ZeroDivisionError
    shown = terminal.getvalue()
    assert "embed: kept 3 of [/a] loss 1.5" in shown
    assert "4/10" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back, whatever happened
    assert capsys.readouterr().out == ""
