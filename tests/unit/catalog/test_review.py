"""Review: the same seed draws the same sample, and what people said of it holds a release or lets it go."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from catalog import cli, review
from catalog.errors import InputError, ReleaseBlocked
from catalog.home import Home
from catalog.schema import body
from catalog.settings import CatalogSettings, ReviewSettings
from catalog.stage import Stage, StageReport

SOURCE = Stage("crawl", (), ("documents",), 1, lambda _: {}, lambda *_: StageReport("crawl"))
GATE = ReviewSettings(min_pass=0.8)
STRATA = st.dictionaries(
    st.tuples(st.sampled_from(["news", "blog"]), st.sampled_from(["en", "zh", "de"])),
    st.lists(st.uuids().map(str), min_size=1, max_size=30, unique=True),
    min_size=1,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home to be changed."""
    home = Home.open(CatalogSettings(root=tmp_path / "home"))
    add(home, "first", 60)
    return home


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home to be read."""
    home = Home.open(CatalogSettings(root=tmp_path_factory.mktemp("review") / "home"))
    add(home, "first", 60)
    return home


def add(home: Home, key: str, count: int, prefix: str | None = None) -> None:
    """Publish documents, a third of them Chinese."""
    rows = [
        {
            "document_id": f"{prefix or key}-{number:03}", "url": f"https://e.org/{number}", "source_class": "news",
            "language": "en" if number % 3 else "zh", "title": "T <b>",
            "text": f"Text {number}.\u2028Its \x85 and \x1d are no ends of a line of JSONL.",
        }
        for number in range(count)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=body("documents"))
    home.publish_origin(SOURCE, key, count, {"documents": table}, {})


def judge(path: Path, rows: list[dict[str, Any]], verdicts: dict[int, str], who: str = "ann") -> Path:
    filled = [row | {"verdict": verdicts.get(at, "pass"), "who": who} for at, row in enumerate(rows)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in filled), encoding="utf-8")
    return path


@given(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_is_wilsons(passed: int, failed: int, confidence: float) -> None:
    low, high = review.wilson(passed, passed + failed, confidence)
    if passed + failed:
        expected = binomtest(passed, passed + failed).proportion_ci(confidence, method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    else:
        assert (low, high) == (0.0, 1.0)


@given(st.floats(0.01, 0.99), st.sampled_from([0.8, 0.95]))
def test_the_smallest_sample_that_can_pass(min_pass: float, confidence: float) -> None:
    size = review.needed(min_pass, confidence)
    assert review.wilson(size, size, confidence)[0] >= min_pass - 1e-9
    assert size == 1 or review.wilson(size - 1, size - 1, confidence)[0] < min_pass


@given(STRATA, st.integers(1, 100), st.integers(0, 5))
def test_a_draw_is_reproducible_and_proportional(
    strata: dict[tuple[str, str], list[str]], size: int, seed: int
) -> None:
    drawn = review.draw(strata, size, seed)
    total = sum(map(len, strata.values()))
    assert len(set(drawn)) == len(drawn) == min(size, total)
    assert drawn == review.draw({name: ids[::-1] for name, ids in reversed(strata.items())}, size, seed)
    for ids in strata.values():
        assert abs(len(set(drawn) & set(ids)) - min(size, total) * len(ids) / total) < 1


def test_a_sample_holds_both_languages_in_proportion_and_another_seed_draws_others(standing: Home) -> None:
    first, again, other = (review.sample(standing, 12, seed) for seed in (1, 1, 2))
    assert first == again
    assert Counter(row["language"] for row in first["rows"]) == {"en": 8, "zh": 4}
    assert first["population"] == 60
    assert {row["document_id"] for row in first["rows"]} != {row["document_id"] for row in other["rows"]}


def test_a_release_waits_for_the_review_and_falls_with_it(home: Home, tmp_path: Path) -> None:
    review.require(home, ReviewSettings())  # no review is asked for
    with pytest.raises(ReleaseBlocked, match="no review is recorded"):
        review.require(home, GATE)
    rows = review.sample(home, 20, 1)["rows"]
    review.record(home, judge(tmp_path / "r.jsonl", rows, {}))
    review.require(home, GATE)  # 20 of 20: at least 83.9 %
    review.record(home, judge(tmp_path / "r.jsonl", rows, {3: "fail"}))
    with pytest.raises(ReleaseBlocked, match=r"19 of 20 pass, 0 open; between 76\.4%"):
        review.require(home, GATE)
    assert review.status(home, GATE)["failed"] == [rows[3]["document_id"]]


def test_changing_ones_mind_back_counts_and_recording_again_does_not(home: Home, tmp_path: Path) -> None:
    rows = review.sample(home, 20, 1)["rows"]
    passed, failed = judge(tmp_path / "p.jsonl", rows, {}), judge(tmp_path / "f.jsonl", rows, {0: "fail"})
    assert [review.record(home, path)["new"] for path in (passed, passed, failed, passed, passed)] == [20, 0, 1, 1, 0]
    assert review.status(home, GATE)["passed"] == 20


def test_an_open_document_does_not_pass_and_two_reviewers_must_agree(home: Home, tmp_path: Path) -> None:
    rows = review.sample(home, 20, 1)["rows"]
    review.record(home, judge(tmp_path / "r.jsonl", rows, {0: "open", 1: "open"}))
    found = review.status(home, GATE)
    assert (found["passed"], found["open"], found["documents"]) == (18, 2, 20)
    review.record(home, judge(tmp_path / "bob.jsonl", rows, {5: "fail"}, who="bob"))
    assert review.status(home, GATE)["passed"] == 19  # bob judged 0 and 1, and ties on 5


def test_a_sample_of_old_documents_does_not_speak_for_new_ones(home: Home, tmp_path: Path) -> None:
    review.record(home, judge(tmp_path / "r.jsonl", review.sample(home, 30, 1)["rows"], {}))
    add(home, "second", 90)
    with pytest.raises(ReleaseBlocked, match=r"drawn from 40\.0% of the current documents: draw a new one"):
        review.require(home, GATE)


def test_documents_that_were_made_again_with_the_same_text_keep_their_review(home: Home, tmp_path: Path) -> None:
    review.record(home, judge(tmp_path / "r.jsonl", review.sample(home, 30, 1)["rows"], {}))
    add(home, "first again", 60, prefix="first")
    assert review.status(home, GATE)["coverage"] == 1.0
    review.require(home, GATE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no rows"),
        ("{", "line 1: not JSON"),
        ("{}", "line 1: needs the fields document_id, sample, seq"),
        ('{"document_id": "x", "sample": "s", "seq": 1, "verdict": "good"}', "verdict 'good'; write pass or fail"),
        ('{"document_id": "x", "sample": "s", "seq": 99}', "drawn at 99, and the ledger of "),
        ('{"document_id": "x", "sample": "s", "seq": 1}', "document x is not among the live documents"),
        ('{"document_id": "first-001", "sample": "s", "seq": 1}\n' * 2, "first-001 is judged twice"),
    ],
)
def test_a_file_that_is_no_sample_is_one_clear_line(standing: Home, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=r"bad\.jsonl") as error:
        review.record(standing, path)
    assert message in str(error.value)


def test_the_commands(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home.close()
    monkeypatch.setenv("HEADRACE_ROOT", str(home.root))

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["headrace", "review", *arguments, "--json"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0), json.loads(capfd.readouterr().out or "{}")

    path = tmp_path / "s.jsonl"
    code, found = run("sample", "--size", "20", "--seed", "1", "--output", str(path))
    assert (code, found["documents"], found["population"]) == (0, 20, 60)
    assert "T &lt;b&gt;" in (tmp_path / "s.html").read_text()
    judge(path, [json.loads(line) for line in path.read_text().split("\n")[:-1]], {})
    assert run("record", str(path)) == (0, {"file": str(path), "new": 20, "pass": 20, "fail": 0, "open": 0})
    assert run("status", "--min-pass", "0.8")[0] == 0
    assert run("status", "--min-pass", "0.9")[0] == 1
