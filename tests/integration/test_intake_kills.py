"""Tables and archives that are taken in by a process that is killed again and again: every record exactly once."""

import os
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from warcio.warcwriter import WARCWriter
from website import Crawler, crawl_once

from catalog.proving import drivers

RECORDS = 150
KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "2"))


def write_table(path: Path) -> None:
    """Rows of which every tenth repeats the address, not the text, of the one before."""
    rows = [{"url": f"http://e.org/{n - (n % 10 == 9)}", "text": f"text {n}"} for n in range(RECORDS)]
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=40)


def write_archive(path: Path) -> None:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for n in range(RECORDS):
            text = pa.py_buffer(f"text {n}".encode())
            given = {"payload": pa.BufferReader(text), "length": text.size, "warc_content_type": "text/plain"}
            writer.write_record(writer.create_warc_record(f"http://e.org/{n - (n % 10 == 9)}", "conversion", **given))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "write"), [("t.parquet", write_table), ("a.warc.gz", write_archive)])
def test_a_killed_intake_stores_every_record_exactly_once(tmp_path: Path, name: str, write: object) -> None:
    assert callable(write)
    write(tmp_path / name)
    rng = random.Random(7)
    names = ["record", "applied", "stored", "seal", "sealed", "table"]
    died = 0
    for k in range(KILLS):
        moment = f"{names[k % len(names)]}:{rng.randint(61, 120) if k % len(names) == 0 else rng.randint(1, 2)}"
        died += drivers.run(crawl_once, tmp_path / "home", str(tmp_path / name), moment) == drivers.KILLED
    assert died >= min(KILLS, 1)
    assert drivers.run(crawl_once, tmp_path / "home", str(tmp_path / name)) == 0
    rows = Crawler(tmp_path / "home").table("pages").select(["page_id", "url"]).to_pylist()
    assert len({row["page_id"] for row in rows}) == len(rows) == RECORDS
    assert set(Counter(row["url"] for row in rows).values()) == {1, 2}
    assert Crawler(tmp_path / "home").run(str(tmp_path / name)).batches == 0
