"""Figures whose hosts and files are tests of the source checkout: those are run and asked what they found."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import catalog
from catalog.proving import MeansMissing

CHECKOUT = Path(catalog.__file__).parent.parent


def measure(
    folder: Path, files: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, list[str], dict[str, str]]:
    """Run test files; return the number of tests, those that failed, and the properties that they recorded.

    Raise MeansMissing where this is no checkout, or pytest is not installed.
    """
    if missing := [name for name in files if not (CHECKOUT / name).is_file()]:
        raise MeansMissing(f"{missing[0]} is part of the source checkout; run it there")
    report = folder / "report.xml"
    folder.mkdir(parents=True, exist_ok=True)
    # of JUnit's dialects only the older ones know properties of a test
    options = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.is_file():
        said = (done.stderr or done.stdout).strip()[-200:]
        raise MeansMissing(f"pytest cannot run here: {said}; make the checkout's environment")
    return read_report(report)


def read_report(report: Path) -> tuple[int, list[str], dict[str, str]]:
    """Read pytest's JUnit report."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314 — pytest has just written it
    failed = [
        f"{case.get('classname')}::{case.get('name')}" for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]  # fmt: skip
    if skipped := [case.find("skipped") for case in cases if case.find("skipped") is not None]:
        raise MeansMissing(f"a test was skipped: {skipped[0].get('message') if skipped[0] is not None else ''}")
    told = {str(one.get("name")): str(one.get("value")) for case in cases for one in case.iter("property")}
    return len(cases), failed, told
