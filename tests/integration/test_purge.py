"""Takedowns: nothing is left in any byte, nothing comes back, a killed one is finished, work based on it given up."""

import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator
from filelock import FileLock
from PIL import Image

from catalog import doctor, failpoint, purge, run, snapshots, sql, why
from catalog.erase import blank
from catalog.errors import Corrupt, InputError
from catalog.export import current_examples
from catalog.files import DIGEST
from catalog.fulltext import FullText
from catalog.home import Home, View
from catalog.maintain import maintain
from catalog.proving import drivers
from catalog.purge import Order
from catalog.settings import Config, MaintenanceSettings
from catalog.tombstones import KEY
from catalog.victims import find, spelled

STAGES = ["crawl", "extract", "dedup", "fuse"]
SUBJECTS = ["otter", "heron", "newt", "vole", "beaver", "kingfisher", "dragonfly", "crayfish", "stickleback", "swan"]


def page(subject: str, number: int, pictures: tuple[str, ...]) -> str:
    """A page whose sentences stand nowhere else."""
    told = [
        f"The {subject} of pond {number * 7 + k} sleeps {k} hours and eats {number + k} times a day." for k in range(9)
    ]
    shown = "".join(f'<figure><img src="{name}" alt="a {subject}"></figure>' for name in pictures)
    body = "".join(f"<p>{sentence}</p>" for sentence in told)
    head = f"<!doctype html><html><head><title>The {subject}</title></head>"
    return f"{head}<body><article><h1>The {subject}</h1>{body}{shown}</article></body></html>"


def noise(path: Path, seed: int) -> None:
    """Write a picture whose bytes stand nowhere else."""
    Image.frombytes("RGB", (40, 30), random.Random(seed).randbytes(3600)).save(path)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Ten pages, each with a picture of its own; the first two share another."""
    folder = tmp_path / "site"
    folder.mkdir()
    for number, subject in enumerate(SUBJECTS):
        pictures = (f"{subject}.png", *(("pond.png",) if number < 2 else ()))
        (folder / f"{subject}.html").write_text(page(subject, number, pictures))
        noise(folder / f"{subject}.png", number)
    noise(folder / "pond.png", len(SUBJECTS))
    return folder


@pytest.fixture
def config(site: Path, tmp_path: Path) -> Config:
    config = Config({"root": str(tmp_path / "home"), "engine": "local", "stages": STAGES,
                     "data_sources": [{"url": str(site), "kind": "folder"}]})  # fmt: skip
    run.run(config)
    return config


def url_of(site: Path, name: str) -> str:
    return (site / name).as_uri()


def urls(home: Home, table: str) -> set[str]:
    return {Path(url).name for url in home.view().read(table, ["url"])["url"].to_pylist()}


def take_down(home: Home, config: Config, url: str) -> dict[str, object]:
    return purge.purge(home, config, Order("url", url, "its owner asked", "steward"))


def in_order(config: Config) -> list[dict[str, object]]:
    return [check for check in doctor.examine(config)["checks"] if not check["ok"]]


def test_a_page_goes_with_what_only_it_shows_and_stays_away(site: Path, config: Config) -> None:
    url = url_of(site, "otter.html")
    with Home.open(config.catalog) as home:
        with_words = FullText(home.root / "indexes")
        with_words.refresh(home.view())
        with_words.close()
        preview = purge.preview(home, "url", url)
        assert "otter.html" in urls(home, "pages"), "a preview changed something"
        told = take_down(home, config, url)
        assert told["rows"] == preview["rows"] and told["proof"]["found"] == 0 < told["proof"]["markers"]  # type: ignore[index]
        assert {"otter.html", "otter.png"}.isdisjoint(urls(home, "pages"))
        assert {"pond.png", "heron.png"} <= urls(home, "media"), "another page shows these"
        for path in [*home.root.rglob("*"), *Path(home.warehouse).rglob("*")]:
            if path.is_file() and "receipts" not in path.parts:
                assert b"otter.html" not in path.read_bytes(), path
        assert why.why(home, url)["state"] == "purged"
        assert why.why(home, url_of(site, "heron.html"))["state"] == "kept"
    assert in_order(config) == []
    (site / "otter.html").touch()
    (site / "copy.png").write_bytes((site / "otter.png").read_bytes())
    (site / "again.html").write_text(page("otter", 0, ("copy.png",)).replace("<article>", "<article class=new>"))
    run.run(config)
    with Home.open(config.catalog) as home:
        assert {"otter.html", "otter.png", "copy.png"}.isdisjoint(urls(home, "pages")), "URL or payload came back"
        refused = sql.query(home, "SELECT url, reason FROM rejects WHERE stage = 'extract'")["rows"]
        assert [(Path(row["url"]).name, row["reason"]) for row in refused] == [("again.html", "purged")]
        assert purge.proof.search(home, [b"The otter of pond 0 sleeps"], Path())["found"] == 1, "its text was archived"
        assert maintain(home, MaintenanceSettings())["erased"] == 1
        assert purge.proof.search(home, [b"The otter of pond 0 sleeps"], Path())["found"] == 0
        assert maintain(home, MaintenanceSettings())["erased"] == 0
    assert in_order(config) == []


def test_going_back_and_forth_brings_nothing_back(site: Path, config: Config) -> None:
    with Home.open(config.catalog) as home:
        before = home.view().seq
        take_down(home, config, url_of(site, "heron.html"))
        for seq in (0, before):
            told = snapshots.rollback(home, str(seq), False)
            assert "purge" not in told["revoked"]
            assert "heron.html" not in urls(home, "documents")
    run.run(config, again=True)
    with Home.open(config.catalog) as home:
        assert "newt.html" in urls(home, "documents") and "heron.html" not in urls(home, "documents")
        assert why.why(home, url_of(site, "heron.html"))["state"] == "purged"
    assert in_order(config) == []


def test_a_maintained_home_forgets_as_well(site: Path, config: Config) -> None:
    (site / "late.html").write_text(page("late grebe", 40, ()))
    run.run(config)
    with Home.open(config.catalog) as home:
        assert maintain(home, MaintenanceSettings(min_files=2))["compacted"]
        told = take_down(home, config, url_of(site, "vole.html"))
        assert told["proof"]["found"] == 0  # type: ignore[index]
        assert "vole.html" not in urls(home, "documents") and "late.html" in urls(home, "documents")
        left = {Path(url).name for url in current_examples(home)["url"].to_pylist()}
        assert left == {"late.html", *(f"{name}.html" for name in SUBJECTS if name != "vole")}
    assert in_order(config) == []


def test_a_proof_searches_only_for_what_no_text_that_stays_holds(
    site: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge.proof, "ROWS", 3)
    run.run(config)
    with Home.open(config.catalog) as home:
        monkeypatch.setattr(View, "read", None)  # which would hold the texts of all documents at once
        found = find(home, "url", url_of(site, "otter.html"))
        cut = [f"The {subject} of pond {number * 7} sleeps".encode() for number, subject in enumerate(SUBJECTS)]
        assert purge.proof._only_theirs(home, cut, found) == cut[:1]


@pytest.mark.parametrize("piece", [64, 1 << 20])
def test_a_proof_searches_on_after_a_damaged_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(purge.proof, "PIECE", piece)
    marker = b"what was taken down and is left all the same"
    members = [gzip.compress(random.Random(seed).randbytes(300) + marker) for seed in range(3)]
    archive = tmp_path / "left.warc.gz"
    archive.write_bytes(b"".join(members))
    assert purge.proof._holds(str(archive), [marker])
    assert not purge.proof._holds(str(archive), [b"what never was there"])
    damaged = [members[0][:40] + b"\xff" * 60 + members[0][100:], gzip.compress(b"nothing"), members[2]]
    archive.write_bytes(b"".join(damaged))
    assert purge.proof._holds(str(archive), [marker])


def test_host_hash_and_id_name_what_goes(site: Path, config: Config, tmp_path: Path) -> None:
    sha256 = hashlib.sha256((site / "pond.png").read_bytes()).hexdigest()
    with Home.open(config.catalog) as home:
        assert {Path(url).name for url in find(home, "hash", sha256).urls} == {"pond.png"}
        document = home.view().lookup("documents", "url", [url_of(site, "newt.html")], ["document_id"])
        name = document["document_id"][0].as_py()
        assert {Path(url).name for url in find(home, "id", name).urls} == {"newt.html", "newt.png"}
        assert find(home, "host", "example.org").counts() == {}
        for kind, value in (("id", "unknown"), ("hash", "0" * 64), ("cluster", "unknown")):
            with pytest.raises(InputError, match="nothing of it is stored here"):
                find(home, kind, value)  # type: ignore[arg-type]
        target = tmp_path / "forget.jsonl"
        purge.purge(home, config, Order("id", name, "test", "steward"), target)
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        assert len(lines) == 1 and "The newt of pond 14" in lines[0]["text"]
        with pytest.raises(InputError, match="is inside the home"):
            purge.purge(home, config, Order("hash", sha256, "test", "steward"), home.root / "forget.jsonl")


def test_subjects_are_spelled_as_tables_spell_them(config: Config) -> None:
    with Home.open(config.catalog) as home:
        for kind, value, said in (("host", "https://a.com/", "is no host"), ("url", "a.com/x", "is no URL")):
            with pytest.raises(InputError, match=said):
                find(home, kind, value)  # type: ignore[arg-type]
    assert [spelled("host", value) for value in ("BÜCHER.de", "a.com.", "a.com:8080")] == [
        "xn--bcher-kva.de", "a.com", "a.com:8080",
    ]  # fmt: skip
    assert spelled("url", "HTTP://A.com/%7ex#top") == "http://a.com/%7ex"


def test_what_a_killed_process_was_writing_aside_goes_too_or_is_told(site: Path, config: Config) -> None:
    run.run(config)
    with Home.open(config.catalog) as home:
        (shard,) = (Path(url) for url in home.view().urls("documents"))
        old, young = (shard.with_name(f".{shard.name}.{one}.tmp") for one in ("0123abcd", "4567cdef"))
        for aside in (old, young):
            shutil.copy(shard, aside)
        os.utime(old, (time.time() - 3600,) * 2)
        told = take_down(home, config, url_of(site, "otter.html"))
        assert not old.exists()
        assert told["proof"]["left"] == [str(young)], "a living process may be writing it"  # type: ignore[index]


def test_jobs_wait_until_a_killed_takedown_is_finished(site: Path, config: Config) -> None:
    with Home.open(config.catalog) as home:
        code = drivers.run(killed, home.root, STAGES, str(site), url_of(site, "swan.html"), "purge-tombstone:1")
        assert code == drivers.KILLED
        (site / "more.html").write_text(page("grebe", 60, ()))
        with pytest.raises(InputError, match="headrace purge --resume"):
            run.run(config)
        assert purge.resume(home, config) == {"resumed": 1}
    run.run(config)
    with Home.open(config.catalog) as home:
        assert "swan.html" not in urls(home, "documents") and "more.html" in urls(home, "documents")
    assert in_order(config) == []


def test_what_unfinished_work_left_on_disk_goes_too(site: Path, config: Config) -> None:
    (site / "late.html").write_text(page("late grebe", 70, ()))
    for stage in STAGES[:-1]:
        run.run(config, stage)
    with Home.open(config.catalog) as home:
        code = drivers.run(fused, home.root, STAGES, str(site), "before-add:1")
        assert code == drivers.KILLED
        shards = list((Path(home.warehouse) / "data" / "examples").rglob("*.parquet"))
        take_down(home, config, url_of(site, "late.html"))
        assert not purge.proof.search(home, [b"The late grebe of pond"], Path())["found"]
        assert len(shards) == 2 and len([path for path in shards if path.exists()]) == 1


@pytest.mark.parametrize("length", [*range(300, 330), 65_559, 65_561, 65_563, 131_099, 131_103, 196_641, 1_000_003])
def test_a_record_of_any_length_is_overwritten_by_an_empty_one(length: int) -> None:
    member = blank(length)
    assert len(member) == length
    read = [
        (record.headers["WARC-Type"], record.reader.read().strip())
        for record in ArchiveIterator(io.BytesIO(member), parse_http=False)
    ]
    assert read == [("metadata", b"")]


def test_a_lost_key_is_no_amnesty(site: Path, config: Config) -> None:
    with Home.open(config.catalog) as home:
        take_down(home, config, url_of(site, "swan.html"))
        (Path(home.warehouse) / KEY).unlink()
        with pytest.raises(Corrupt, match="restore it from a backup"):
            run.run(config)


@pytest.mark.parametrize("older", [False, True], ids=["", "of an older headrace"])
def test_a_damaged_key_is_no_amnesty(site: Path, config: Config, older: bool) -> None:
    with Home.open(config.catalog) as home:
        key = Path(home.warehouse) / KEY
        if older:
            take_down(home, config, url_of(site, "newt.html"))
            key.with_name(key.name + DIGEST).unlink()
        take_down(home, config, url_of(site, "swan.html"))
        data = bytearray(key.read_bytes())
        data[5] ^= 1
        key.write_bytes(data)
        with pytest.raises(Corrupt, match="does not match its SHA-256"):
            run.run(config)
        found = {item["check"]: item for item in doctor.doctor(home, config)["checks"]}
        assert not found["takedowns"]["ok"]
        assert "restore it from a backup" in found["takedowns"]["detail"]


def test_a_crawl_at_work_is_waited_for(site: Path, config: Config) -> None:
    with Home.open(config.catalog) as home, FileLock(home.root / "frontier.lock"):
        with pytest.raises(InputError, match="another crawl is at work"):
            take_down(home, config, url_of(site, "swan.html"))
        assert "swan.html" in urls(home, "pages")


def test_work_that_was_planned_before_is_given_up_and_leaves_nothing(
    site: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site / "marsh.html").write_text(page("marsh frog", 50, ()))
    run.run(config, "crawl")
    with Home.open(config.catalog) as other:
        reach, done = failpoint.reach, []

        def between(name: str) -> None:
            if name == "before-ledger" and not done:
                done.append(name)
                take_down(other, config, url_of(site, "marsh.html"))
            reach(name)

        monkeypatch.setattr(failpoint, "reach", between)
        report = run.run(config, "extract")["stages"][0]
        monkeypatch.setattr(failpoint, "reach", reach)
        assert done and report["batches"] == 0 and "a takedown came between" in report["notes"][0]
        run.run(config)
        assert "marsh.html" not in urls(other, "documents")
        found = purge.proof.search(other, [b"The marsh frog of pond"], Path())
        assert found["found"] == 0, found["left"]
    assert in_order(config) == []


def killed(root: Path, stages: list[str], site: str, url: str, moment: str) -> None:
    """Be a steward whose machine fails."""
    drivers.arm(moment)
    config = Config({"root": str(root), "engine": "local", "stages": stages, "data_sources": [site]})
    with Home.open(config.catalog) as home:
        take_down(home, config, url)


def fused(root: Path, stages: list[str], site: str, moment: str) -> None:
    """Be a driver whose machine fails."""
    drivers.arm(moment)
    run.run(Config({"root": str(root), "engine": "local", "stages": stages, "data_sources": [site]}), "fuse")


def test_a_killed_takedown_is_finished_by_the_next(site: Path, config: Config, repo: Path) -> None:
    source = (repo / "catalog" / "purge.py").read_text() + (repo / "catalog" / "erase.py").read_text()
    names = sorted(set(re.findall(r'failpoint\.reach\("(purge-[a-z-]+)"\)', source)))
    assert len(names) >= 5
    count = int(os.environ.get("HEADRACE_TEST_KILLS", len(names)))
    moments = [f"{name}:1" for name in names] + [f"*:{3 * k}" for k in range(1, len(SUBJECTS))]
    with Home.open(config.catalog) as home:
        for moment, subject in zip(moments[:count], SUBJECTS, strict=False):
            url = url_of(site, f"{subject}.html")
            code = drivers.run(killed, home.root, STAGES, str(site), url, moment)
            assert code == drivers.KILLED, moment
            purge.resume(home, config)
            assert not list((home.root / "purges").glob("*.json"))
            receipts = [json.loads(path.read_text()) for path in (home.root / "receipts").glob("*.json")]
            assert [told["proof"]["left"] for told in receipts if told["proof"]["left"]] == [], moment
            assert f"{subject}.html" not in urls(home, "pages"), moment
            assert why.why(home, url)["state"] == "purged"
    assert in_order(config) == []
