"""docs/reading.md is run as it stands: on a home whose last publish was killed half-way, and on any ledger."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.home import Home
from catalog.ledger import InputCounts, Row, State, to_table
from catalog.proving import toychain

REPO = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (REPO / "docs" / "reading.md").read_text(encoding="utf-8"), re.DOTALL)
LIVE = (
    next(block for block in BLOCKS if block.startswith("LIVE")).removeprefix('LIVE = """').rstrip().removesuffix('"""')
)
REPORT = """
import sys
naive = db.sql(f"SELECT batch_id FROM read_parquet({document_files})").fetchall()
print("COUNTS", len(naive), len(db.sql("FROM documents").fetchall()),
      pl.read_parquet(document_files).height, documents.collect().height)
ours = ("catalog", "ingest", "multimodal", "annotate", "trainer")
print("OURS", sorted(name for name in sys.modules if name in ours))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home whose second publish of documents died after its tables and before its ledger row."""
    folder = tmp_path_factory.mktemp("killed")
    run = [sys.executable, "-m", "catalog.proving.toychain", str(folder / ".headrace")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    subprocess.run([*run, "0-1"], check=True, env=environment, capture_output=True)
    # origins pass no `before-ledger` but their own: the new origin's row is the 1st, an activate of nothing new none,
    # so the 2nd is that of the new extract batch, whose documents are in the table by then
    dead = subprocess.run(
        [*run, "0-2"], env=environment | {"HEADRACE_FAILPOINT": "before-ledger:2"}, capture_output=True
    )
    assert dead.returncode == -9, dead.stderr.decode()
    return folder


def test_the_page_reads_only_what_is_published_where_a_naive_query_reads_more(killed: Path) -> None:
    code = "\n".join(BLOCKS) + REPORT
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=killed, capture_output=True, text=True, check=True)
    counts = next(line for line in done.stdout.splitlines() if line.startswith("COUNTS"))
    naive_duckdb, read_duckdb, naive_polars, read_polars = map(int, counts.split()[1:])
    with Home.open(toychain.make_config(killed / ".headrace").catalog) as home:
        ours = home.view().read("documents").num_rows
        assert home.view().live("extract"), "the first publish stands"
    assert read_duckdb == read_polars == ours > 0
    assert naive_duckdb == naive_polars > ours, "the killed publish left rows in the table"
    assert "OURS []" in done.stdout, "the page must not need headrace"


NAMES = st.sampled_from(["a", "b", "c", "d"])
TIMES = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Row]:
    """Any order of publishing, activating and revoking over few stages, recipes and origins."""
    rows: list[Row] = []
    batches: list[str] = []
    for seq in range(1, draw(st.integers(1, 14)) + 1):
        kind = draw(st.sampled_from(["publish", "publish", "activate", "activate batches", "revoke"]))
        stage, recipe = draw(st.sampled_from(["extract", "embed"])), draw(NAMES)
        time = TIMES + timedelta(seconds=seq)
        if kind == "publish":
            origins = tuple(sorted(draw(st.sets(NAMES, max_size=3))))
            counts = (InputCounts("x", 1, 1, 0),)
            rows.append(Row(seq, kind, stage, time, f"batch{seq}", recipe, inputs=counts, origins=origins))
            batches.append(f"batch{seq}")
        elif kind == "activate":
            rows.append(Row(seq, kind, stage, time, settings_hash=recipe))
        elif batches:
            targets = tuple(sorted(draw(st.sets(st.sampled_from(batches), min_size=1))))
            rows.append(Row(seq, kind.split()[0], stage, time, targets=targets))
    return rows


@settings(deadline=None, max_examples=40)
@given(ledgers())
def test_the_query_of_the_page_is_the_ledgers_own_rule(rows: list[Row]) -> None:
    batches = to_table(rows)
    live = set(State(rows).live)
    with duckdb.connect() as db:
        db.register("batches", batches)
        assert {row[0] for row in db.sql(LIVE).fetchall()} == live
    frame = pl.from_arrow(batches)
    assert isinstance(frame, pl.DataFrame)
    assert set(pl.SQLContext(batches=frame).execute(LIVE, eager=True)["batch_id"]) == live
