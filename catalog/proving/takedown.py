"""Takedowns: of what was taken down no byte is left in a home or an export of it, and no way brings it back."""

import gzip
import io
import os
import random
import wave
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from catalog import doctor, export, purge, run, snapshots
from catalog.fulltext import FullText
from catalog.home import Home
from catalog.maintain import maintain
from catalog.settings import Config, MaintenanceSettings

STAGES = ["crawl", "extract", "dedup", "fuse"]
SEED = 20260104
SUBJECTS = ("otter", "heron", "newt", "vole", "beaver", "swan")
WINDOW = 48  # bytes of a marker


def build(site: Path) -> dict[str, list[bytes]]:
    """Write a site; return, by the name of a page, pieces of its text, its picture and its recording."""
    site.mkdir(parents=True)
    markers = {}
    for number, subject in enumerate(SUBJECTS):
        rng = random.Random(SEED + number)  # noqa: S311 — reproducible, keeps no secret
        told = [
            f"The {subject} of pond {rng.getrandbits(64):x} sleeps for {rng.getrandbits(64):x} hours." for _ in range(9)
        ]
        picture, sound = rng.randbytes(3600), rng.randbytes(8000)
        sink = io.BytesIO()
        Image.frombytes("RGB", (40, 30), picture).save(sink, "BMP")  # its rows stand in the file as they are
        (site / f"{subject}.bmp").write_bytes(sink.getvalue())
        with wave.open(str(site / f"{subject}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(sound)
        shown = f'<figure><img src="{subject}.bmp"></figure><audio src="{subject}.wav"></audio>'
        for name in (subject, f"{subject}-copy"):
            body = "".join(f"<p>{sentence}</p>" for sentence in told)
            page = f"<!doctype html><title>{subject}</title><article><h1>The {subject}</h1>{body}{shown}</article>"
            (site / f"{name}.html").write_text(page)
        pieces = [told[number].encode()[-WINDOW:] for number in range(0, 9, 2)]
        data = sink.getvalue()
        markers[subject] = [
            *pieces,
            data[1000 : 1000 + WINDOW],
            data[2500 : 2500 + WINDOW],
            sound[4000 : 4000 + WINDOW],
        ]
    return markers


def left(places: list[Path], wanted: list[bytes]) -> list[str]:
    """Name the files below some places that hold one of these pieces, unpacked or as they are."""
    files = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    return [path.name for path in files if any(piece in data for data in _readings(path) for piece in wanted)]


def _readings(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        rows = pq.read_table(io.BytesIO(data))
        yield b"\n".join(
            buffer.to_pybytes() for column in rows for chunk in column.chunks for buffer in chunk.buffers() if buffer
        )
    elif path.suffix == ".gz":
        yield gzip.decompress(data)


def measure(folder: Path) -> tuple[int, int, int, list[str]]:
    """Take pages down in every way; return markers looked for, files that hold one, resurrections, what they are."""
    site, root = folder / "site", folder / "home"
    markers = build(site)
    config = Config({"root": str(root), "engine": "local", "stages": STAGES,
                     "data_sources": [{"url": str(site), "kind": "folder"}]})  # fmt: skip
    run.run(config)
    gone: list[bytes] = []
    found: list[str] = []
    back: list[str] = []
    with Home.open(config.catalog) as home:
        words = FullText(home.root / "indexes")
        words.refresh(home.view())
        words.close()
        before = home.view().seq
        assert len(left([root], [piece for pieces in markers.values() for piece in pieces[:1]])) > 0
        for number, subject in enumerate(SUBJECTS[:3]):
            _leave_open_round(home, markers[subject])
            _take_down(home, config, site, subject, number)
            gone += markers[subject]
            found += [f"after taking down {subject}: {name}" for name in left([root], gone)]
        names = [name for subject in SUBJECTS[:3] for name in (f"{subject}.html", f"{subject}-copy.html")]
        for way, act in (
            ("rollback", lambda: snapshots.rollback(home, str(before), False)),
            ("run --again", lambda: run.run(config, again=True)),
            ("recrawl and maintenance", lambda: _recrawl(home, site, config)),
            ("export", lambda: export.export(home, "jsonl", folder / "export", None, None)),
        ):
            act()
            shown = {Path(url).name for table in ("pages", "documents", "examples")
                     for url in home.view().read(table, ["url"])["url"].to_pylist()}  # fmt: skip
            back += [f"{name} came back by {way}" for name in names if name in shown]
            back += [f"{way} brought {name}" for name in left([root, folder / "export"], gone)]
        assert {f"{subject}.html" for subject in SUBJECTS[3:]} <= shown, "others went too"
        wrong = [item.detail for item in doctor.look_over(home) if not item.ok]
    return len(gone), len(found), len(back), [*found, *back, *wrong]


def _take_down(home: Home, config: Config, site: Path, subject: str, number: int) -> None:
    """Take a page and its copy down: by their URLs, by the id of one with all its duplicates, by the text's hash."""
    address = (site / f"{subject}.html").as_uri()
    row = home.view().lookup("documents", "url", [address], ["document_id", "text_sha256"]).to_pylist()[0]
    orders = {
        0: [("url", address), ("url", (site / f"{subject}-copy.html").as_uri())],
        1: [("cluster", row["document_id"])],
        2: [("hash", row["text_sha256"])],
    }[number]
    for kind, value in orders:
        purge.purge(home, config, purge.Order(kind, value, "its owner asked", "scoreboard"))  # type: ignore[arg-type]


def _leave_open_round(home: Home, pieces: list[bytes]) -> None:
    """Leave what a killed training round leaves: a folder with rows that it was to learn from."""
    folder = home.root / "rounds" / "open"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan").write_bytes(b"\n".join(pieces))


def _recrawl(home: Home, site: Path, config: Config) -> None:
    """Let every page look new, offer what was taken down under other names too, then maintain the home.

    A text under another name is archived before it is known for what it is; maintenance overwrites that record.
    """
    for path in list(site.iterdir()):
        os.utime(path)
    for subject in SUBJECTS[:3]:
        page = (site / f"{subject}.html").read_text()
        (site / f"{subject}-again.html").write_text(page.replace("<article>", "<article class=again>"))
        (site / f"{subject}-again.bmp").write_bytes((site / f"{subject}.bmp").read_bytes())
    run.run(config)
    maintain(home, MaintenanceSettings(min_files=2, grace_hours=0, retention_hours=0))
