"""Dedup over all senses on a real home: meaning, pictures and recordings, what stewards say, what takedowns leave."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import senses
from senses import Day, live
from texts import edited, words

from catalog import duplicates, sql
from catalog.decisions import Verdict
from catalog.dedup import DEDUP
from catalog.errors import ConfigError, InputError
from catalog.home import Home
from catalog.purge import Order, purge
from catalog.settings import Config
from catalog.verdicts import set_aside
from catalog.why import why

BY = ("ada", "looked at both")
STORY, OTHER = " ".join(words(60)), " ".join(words(60, 400))


@pytest.fixture(autouse=True)
def _stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: senses.STAGES)


def config_of(root: Path, **dedup: object) -> Config:
    return Config(
        {
            "root": str(root),
            "engine": "local",
            "dedup": dedup,
            "stages": ["crawl", "extract", "embed", "transcribe", "dedup"],
        }
    )


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path)


@pytest.fixture
def home(config: Config) -> Iterator[Home]:
    with Home.open(config.catalog) as opened:
        yield opened


def put(home: Home, config: Config, number: int, day: Day) -> None:
    live(home, config, number, day)
    DEDUP.run(home, config)


def told(home: Home) -> list[tuple[str, ...]]:
    """What dedup said, by URL or id: record, kept, kind, method, state."""
    view = home.view()
    urls = {row["document_id"]: row["url"] for row in view.read("documents", ["document_id", "url"]).to_pylist()}
    rows = view.read("duplicates").to_pylist()
    return sorted(
        (*(urls.get(row[name], row[name]) for name in ("record_id", "kept_id")), row["kind"], row["method"],
         row["state"])
        for row in rows
    )  # fmt: skip


def away(home: Home) -> set[str]:
    """The URLs and ids of what readers skip, as the code and as SQL say."""
    view = home.view()
    documents = {row["document_id"]: row["url"] for row in view.read("documents").to_pylist()}
    ids = [*documents, *view.read("media", ["media_id"])["media_id"].to_pylist()]
    found = set_aside(view, ids)
    rows = sql.query(home, "SELECT * FROM discarded")["rows"]
    assert {(row["record_id"], row["record_batch"]) for row in rows} == found
    return {documents.get(record, record) for record, _ in found}


def judge(home: Home, subject: str, verdict: Verdict) -> dict[str, Any]:
    return duplicates.judge(home, subject, None, verdict, BY)


def test_close_vectors_decide_and_less_close_ones_propose(home: Home, config: Config) -> None:
    first = {"http://x/a": STORY, "http://x/b": OTHER}
    put(home, config, 0, Day(first, {"http://x/a": 0, "http://x/b": 90}))
    more = {"http://x/c": " ".join(words(60, 100)), "http://x/d": " ".join(words(60, 600)), "http://x/e": "one two"}
    put(home, config, 1, Day(more, {"http://x/c": 10, "http://x/d": 67, "http://x/e": 1}))
    assert told(home) == [
        ("http://x/c", "http://x/a", "semantic", "cosine", "decided"),
        ("http://x/d", "http://x/b", "semantic", "cosine", "proposed"),
        ("http://x/e", "http://x/a", "semantic", "cosine", "proposed"),  # much shorter: the vector says too little
    ]
    (row,) = (row for row in home.view().read("duplicates").to_pylist() if row["state"] == "decided")
    assert (row["score"], row["threshold"], row["model"], row["revision"]) == (0.984808, 0.95, "toy", "1")
    assert away(home) == {"http://x/c"}


def test_pages_of_one_template_are_not_told_apart_by_vectors(home: Home, config: Config) -> None:
    pages = {f"http://x/{n}": f"Order {n} {STORY}" for n in (1234, 1235)}
    put(home, config, 0, Day(pages, dict.fromkeys(pages, 5.0)))
    assert told(home) == []


def test_long_texts_share_their_words_in_capitals_too(home: Home, config: Config) -> None:
    texts = {"http://x/a": " ".join(words(300)), "http://x/b": " ".join(reversed(words(300))).upper()}
    put(home, config, 0, Day(texts, {"http://x/a": 0, "http://x/b": 10}))
    assert told(home) == [("http://x/b", "http://x/a", "semantic", "cosine", "decided")]


def test_what_hides_among_many_copies_is_found_through_what_stands_for_them(
    home: Home, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.neighbours.NEIGHBOURS", 2)
    for number, angle in enumerate((0, 10, 10.1, 10.2)):
        url = f"http://x/{number}"
        put(home, config, number, Day({url: " ".join(words(60, 70 * number))}, {url: angle}))
    assert {(row[0], row[1]) for row in told(home)} == {(f"http://x/{k}", "http://x/0") for k in (1, 2, 3)}


def test_pictures_need_a_hash_or_a_vector_and_a_thumbnail_that_agree(home: Home, config: Config) -> None:
    put(home, config, 0, Day(pictures={"p": (0, 0b1111, 1)}))
    again = {"hash": (30, 0b1110, 1), "crop": (5, 0xFFFF0000, 1), "screenshot": (5, 0b1111, 2), "far": (60, 0b1111, 1)}
    put(home, config, 1, Day(pictures=again))
    assert told(home) == [
        ("crop", "p", "image", "clip", "decided"),
        ("hash", "p", "image", "phash", "decided"),
        ("screenshot", "p", "image", "clip", "proposed"),
    ]
    assert away(home) == {"crop", "hash"}
    put(home, config, 2, Day(pictures={"hash": again["hash"]}))  # fetched again: told the same of its new row
    rows = [row for row in home.view().read("duplicates").to_pylist() if row["record_id"] == "hash"]
    assert len({row["record_batch"] for row in rows}) == len(rows) == 2
    assert away(home) == {"crop", "hash"}


def test_a_picture_that_is_turned_or_mirrored_is_proposed(home: Home, config: Config) -> None:
    put(home, config, 0, Day(pictures={"p": (0, 0b1111, 1)}))
    turns = {"mirrored": (20, 0xFF00, (1, 0, True)), "left": (25, 0xF0F0, (1, 1, False)), "else": (-25, 0xF00F, 2)}
    put(home, config, 1, Day(pictures=turns))
    assert told(home) == [
        ("left", "p", "image", "turned", "proposed"),
        ("mirrored", "p", "image", "turned", "proposed"),
    ]
    assert away(home) == set()


def test_recordings_are_the_same_by_their_samples_or_by_words_and_length(home: Home, config: Config) -> None:
    short = " ".join(words(8))
    put(home, config, 0, Day(recordings={"r": (STORY, 30.0, "s1"), "s": (short, 3.0, "s2")}))
    more = {"flac": ("", 30.0, "s1"), "mp3": (STORY, 30.4, "s3"), "slow": (STORY, 40.0, "s4"), "t": (short, 3.0, "s5")}
    put(home, config, 1, Day(recordings=more))
    assert told(home) == [
        ("flac", "r", "audio", "pcm_sha256", "decided"),
        ("mp3", "r", "audio", "transcript", "decided"),
        ("t", "s", "audio", "transcript", "proposed"),
    ]


def test_dedup_waits_for_features_and_does_without_stages_that_are_left_out(tmp_path: Path) -> None:
    waiting, alone = config_of(tmp_path), config_of(tmp_path)
    alone.catalog.__dict__["stages"] = ("crawl", "extract", "dedup")
    texts = {"http://x/a": STORY, "http://x/b": OTHER}
    with Home.open(waiting.catalog) as home:
        live(home, waiting, 0, Day(texts, dict.fromkeys(texts, 0.0)), embedded=False)
        assert home.todo(DEDUP, waiting) == []
        assert len(home.todo(DEDUP, alone)) == 1
        assert DEDUP.run(home, alone).outputs == {}


def test_a_rejected_pair_comes_back_is_never_decided_again_and_undo_undoes_it(home: Home, config: Config) -> None:
    put(home, config, 0, Day({"http://x/a": STORY, "http://x/b": edited(STORY, [5])}))
    assert away(home) == {"http://x/b"}
    assert judge(home, "http://x/b", Verdict.DISTINCT)["new"] == 1
    assert judge(home, "http://x/b", Verdict.DISTINCT)["new"] == 0
    assert away(home) == set()
    put(home, config, 1, Day({"http://x/c": OTHER}))
    assert ("http://x/b", "http://x/b", "kept", "review", "decided") in told(home)  # which fuses it
    put(home, config, 2, Day({"http://x/b": edited(STORY, [5])}))  # the same text, fetched again
    assert [row for row in told(home) if row[2] == "minhash"] == [
        ("http://x/b", "http://x/a", "minhash", "minhash", "decided")
    ]
    assert away(home) == {"http://x/b"}  # its older row, superseded
    listed = duplicates.listed(home, [], ["rejected"], 5)
    assert [(pair["url"], pair["kept_url"]) for pair in listed["pairs"]] == [("http://x/b", "http://x/a")]
    assert listed["counts"] == {"minhash": {"rejected": 1}}


def test_undo_lets_the_decision_count_again(home: Home, config: Config) -> None:
    put(home, config, 0, Day({"http://x/a": STORY, "http://x/b": edited(STORY, [5])}))
    judge(home, "http://x/b", Verdict.DISTINCT)
    put(home, config, 1, Day({"http://x/c": OTHER}))
    judge(home, "http://x/b", Verdict.WITHDRAWN)
    assert away(home) == {"http://x/b"}
    put(home, config, 2, Day({"http://x/d": " ".join(words(60, 900))}))
    assert away(home) == {"http://x/b"}


def test_an_accepted_proposal_is_skipped_and_what_it_stood_for_is_judged_again(home: Home, config: Config) -> None:
    texts = {"http://x/a": STORY, "http://x/b": OTHER, "http://x/c": edited(OTHER, [5])}
    put(home, config, 0, Day(texts, {"http://x/a": 0, "http://x/b": 20}))
    assert away(home) == {"http://x/c"}
    judge(home, "http://x/b", Verdict.DUPLICATE)
    assert away(home) == {"http://x/b", "http://x/c"}
    put(home, config, 1, Day({"http://x/d": " ".join(words(60, 900))}))
    assert away(home) == {"http://x/b"}
    events = [event for event in why(home, "http://x/b")["events"] if event["outcome"] in ("proposed", "judged")]
    assert [(event["outcome"], event["reason"]) for event in events] == [
        ("proposed", "semantic"), ("judged", "duplicate"),
    ]  # fmt: skip
    assert "model toy@1" in events[0]["detail"]
    assert "by ada, looked at both" in events[1]["detail"]


def test_a_verdict_needs_a_decision(home: Home, config: Config) -> None:
    put(home, config, 0, Day({"http://x/a": STORY}))
    with pytest.raises(InputError, match="no decision on it; see 'headrace duplicates list'"):
        judge(home, "http://x/a", Verdict.DISTINCT)


def test_copies_of_what_was_taken_down_are_judged_again(home: Home, config: Config) -> None:
    texts = {"http://x/a": STORY, "http://x/b": edited(STORY, [5]), "http://x/c": edited(STORY, [9])}
    put(home, config, 0, Day(texts))
    assert away(home) == {"http://x/b", "http://x/c"}
    (gone,) = (row["document_id"] for row in home.view().read("documents").to_pylist() if row["url"] == "http://x/a")
    purge(home, config, Order("hash", _text_hash(home, gone), "asked to", "ada"))
    put(home, config, 1, Day({"http://x/d": OTHER}))
    assert ("http://x/b", "http://x/b", "kept", "takedown", "decided") in told(home)
    assert away(home) == {"http://x/c"}


def test_media_copies_of_what_was_taken_down_are_judged_again(home: Home, config: Config) -> None:
    first = Day(
        pictures={"p": (0, 0b1111, 1), "other": (90, 0xFFFF0000, 3)},
        recordings={"r": (STORY, 30.0, "s1"), "said": (OTHER, 30.0, "s9")},
    )
    put(home, config, 0, first)
    copies = Day(
        pictures={"p2": (1, 0b1110, 1), "p3": (2, 0b1101, 1)},
        recordings={"r2": (STORY, 30.1, "s2"), "r3": (STORY, 30.2, "s3")},
    )
    put(home, config, 1, copies)
    assert away(home) == {"p2", "p3", "r2", "r3"}
    for gone in ("p", "r"):
        purge(home, config, Order("id", gone, "asked to", "ada"))
    assert away(home) == set()
    put(home, config, 2, Day({"http://x/d": OTHER}))
    assert told(home) == [("p3", "p2", "image", "phash", "decided"), ("r2", "r3", "audio", "transcript", "decided")]
    put(home, config, 3, Day({"http://x/e": STORY}))
    assert len(told(home)) == 2


def test_media_that_a_steward_calls_distinct_come_back_once(home: Home, config: Config) -> None:
    put(home, config, 0, Day(pictures={"p": (0, 0b1111, 1)}, recordings={"r": (STORY, 30.0, "s1")}))
    put(home, config, 1, Day(pictures={"p2": (1, 0b1110, 1)}, recordings={"r2": (STORY, 30.1, "s1")}))
    for copy in ("p2", "r2"):
        judge(home, copy, Verdict.DISTINCT)
    put(home, config, 2, Day({"http://x/d": OTHER}))
    assert [row for row in told(home) if row[2] == "kept"] == [
        (copy, copy, "kept", "review", "decided") for copy in ("p2", "r2")
    ]
    assert away(home) == set()


def _text_hash(home: Home, document: str) -> str:
    (row,) = home.view().lookup("documents", "document_id", [document], ["text_sha256"]).to_pylist()
    return str(row["text_sha256"])


def test_shown_pairs_say_what_differs(home: Home, config: Config) -> None:
    put(home, config, 0, Day({"http://x/a": f"{STORY}\nsame line", "http://x/b": f"{edited(STORY, [5])}\nsame line"}))
    (pair,) = duplicates.shown(home, "http://x/b")["pairs"]
    assert [line[:1] for line in pair["difference"][3:]] == ["-", "+", " "]
    assert (pair["state"], pair["kind"], pair["kept"]["language"]) == ("decided", "minhash", "en")


def test_thresholds_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="semantic_propose is above semantic_threshold"):
        config_of(tmp_path, semantic_propose=0.99)
