"""SQL sees the live rows of every table and can touch nothing else."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import storybook
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from storybook import SITE, Story

from catalog import sql
from catalog.errors import InputError
from catalog.home import Home
from catalog.proving import toychain
from catalog.schema import TABLES
from catalog.settings import CatalogSettings


def rows(story: Story, text: str) -> list[dict]:
    return sql.query(story.home, text)["rows"]


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_has_its_live_rows_under_its_declared_columns(story: Story, table: str) -> None:
    view = story.home.view()
    assert rows(story, f"SELECT count(*) AS n FROM {table}") == [{"n": view.read(table, ["batch_id"]).num_rows}]
    assert [row["column_name"] for row in rows(story, f"DESCRIBE {table}")] == TABLES[table].names


def test_the_ledger_is_a_view_that_says_what_is_live(story: Story) -> None:
    found = rows(story, "SELECT batch_id FROM batches WHERE live AND stage = 'extract' ORDER BY seq")
    assert [row["batch_id"] for row in found] == [story.batches["extract1"], story.batches["extract2"]]


@pytest.mark.parametrize("value", ["DATE 'infinity'", "TIMESTAMP '290000-01-01'", "[TIMESTAMP 'infinity']"])
def test_a_time_that_python_has_not_is_one_clear_line(story: Story, value: str) -> None:
    with pytest.raises(InputError, match="cast it to VARCHAR"):
        rows(story, f"SELECT {value} AS t")
    assert rows(story, f"SELECT ({value})::VARCHAR AS t")


def test_current_documents_leave_duplicates_and_older_versions_out(story: Story) -> None:
    found = rows(story, "SELECT document_id FROM current_documents")
    assert {row["document_id"] for row in found} == {story.documents[name]["document_id"] for name in ("a", "new")}
    found = rows(story, "SELECT example_id FROM current_examples")
    assert {row["example_id"] for row in found} == {story.examples[name]["example_id"] for name in ("a", "new")}


def test_a_kept_row_takes_a_decision_back_but_not_a_superseded_one(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        crawl = storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("a", "A")]}), num_in=1)
        made = [storybook.document(name, "A", name) for name in ("twice", "back", "old")]
        extract = storybook.put(home, "extract", storybook.Made({"documents": made}), [crawl], 1)
        ids = {item["text"]: (item["document_id"], extract) for item in made}
        decisions = [
            storybook.decision("exact", ids["twice"], ids["back"]),
            storybook.decision("exact", ids["back"], ids["twice"]),
            storybook.decision("kept", ids["back"], ids["back"]),
            storybook.decision("superseded", ids["old"], ids["back"]),
            storybook.decision("kept", ids["old"], ids["old"]),
        ]
        storybook.put(home, "dedup", storybook.Made({"duplicates": decisions}), [extract], 3)
        assert sql.query(home, "SELECT text FROM current_documents") == {"rows": [{"text": "back"}]}


def test_the_newest_example_of_a_document_is_current(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        crawl = storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("a", "A")]}), num_in=1)
        made = storybook.document("a", "A", "words")
        extract = storybook.put(home, "extract", storybook.Made({"documents": [made]}), [crawl], 1)
        newest = ""
        for media in ((), ("m1",), ("m1", "m2")):
            fused = storybook.example(made, extract, media)
            storybook.put(home, "fuse", storybook.Made({"examples": [fused]}), [extract], 1)
            newest = fused["example_id"]
        assert sql.query(home, "SELECT count(*) AS n FROM examples") == {"rows": [{"n": 3}]}
        assert sql.query(home, "SELECT example_id FROM current_examples") == {"rows": [{"example_id": newest}]}


def test_rows_of_an_unfinished_publish_are_not_seen(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        unseen = toychain.page_rows(1).add_column(0, "batch_id", pa.array(["nobody"] * 7))
        shard = tmp_path / "stray.parquet"
        full = {name: unseen[name] if name in unseen.column_names else pa.nulls(7) for name in TABLES["pages"].names}
        pq.write_table(pa.table(full).cast(TABLES["pages"]), shard)
        home.store.load("pages").add_files([str(shard)])
        assert home.view().urls("pages") == [str(shard)]
        assert sql.query(home, "SELECT * FROM pages") == {"rows": []}


def test_columns_that_older_files_lack_are_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        names = ("batch_id", "page_id", "url", "source_class", "fetched_at")
        patch.setitem(TABLES, "pages", pa.schema([TABLES["pages"].field(name) for name in names]))
        with Home.open(CatalogSettings(root=tmp_path)) as home:
            old = {name: value for name, value in storybook.page("old", "A").items() if name in names}
            storybook.put(home, "crawl", storybook.Made({"pages": [old]}), num_in=1)
    with Home.open(CatalogSettings(root=tmp_path)) as home:
        query = "SELECT url, status, licence FROM pages ORDER BY url"
        before = {"url": SITE + "old", "status": None, "licence": None}
        assert sql.query(home, query)["rows"] == [before]
        storybook.put(home, "crawl", storybook.Made({"pages": [storybook.page("new", "B")]}), num_in=1)
        assert sql.query(home, query)["rows"] == [{"url": SITE + "new", "status": 200, "licence": "CC-BY-4.0"}, before]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELEC 1", 'sql: Parser Error: syntax error at or near "SELEC"'),
        ("SELECT * FROM docments", "sql: no table docments; did you mean documents?"),
        ("SELECT * FROM xyzzy", "sql: no table xyzzy; there are batches, pages"),
        ("SELECT nope FROM pages", 'sql: Binder Error: Referenced column "nope" not found'),
        ("SELECT 'a'::INT", "sql: Conversion Error"),
        ("", "sql: give one statement; found 0"),
        ("SELECT 1; SELECT 2", "sql: give one statement; found 2"),
        ("DROP VIEW pages", "sql: only SELECT is possible here, not DROP"),
        ("CREATE TABLE t AS SELECT 1", "sql: only SELECT is possible here, not CREATE"),
        ("COPY pages TO 'pages.csv'", "sql: only SELECT is possible here, not COPY"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'", "sql: only SELECT is possible here, not EXPLAIN"),
        ("SET enable_external_access = true", "sql: only SELECT is possible here, not SET"),
        ("SELECT * FROM read_text('/etc/hostname')", "sql: Permission Error"),
        ("SELECT * FROM glob('/*')", "sql: Permission Error"),
        ("SELECT * FROM '/etc/hostname'", "sql: no table /etc/hostname"),
        ("SELECT * FROM story", "sql: no table story"),
    ],
)
def test_mistakes_and_intrusions_are_one_clear_line(story: Story, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        sql.query(story.home, text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_shard_can_be_read_but_not_overwritten(story: Story) -> None:
    shard = Path(story.home.view().urls("pages")[0])
    before = shard.read_bytes()
    with pytest.raises(InputError):
        sql.query(story.home, f"EXPLAIN ANALYZE COPY (SELECT 1) TO '{shard}' -- pages")
    assert shard.read_bytes() == before


def test_values_are_json(story: Story) -> None:
    found = rows(
        story,
        "SELECT fetched_at, 1::HUGEINT AS huge, 0.5::DECIMAL(4, 2) AS part, 'nan'::FLOAT AS nan, 'ab'::BLOB AS bytes, "
        "[1.5] AS list, {'k': DATE '2026-01-02'} AS struct, 1 AS x, 2 AS x FROM pages LIMIT 1",
    )
    assert json.loads(json.dumps(found)) == found
    assert {k: v for k, v in found[0].items() if k != "fetched_at"} == {
        "huge": 1, "part": 0.5, "nan": None, "bytes": "YWI=", "list": [1.5], "struct": {"k": "2026-01-02"},
        "x": 1, "x_1": 2,
    }  # fmt: skip
    assert datetime.fromisoformat(found[0]["fetched_at"]).tzinfo is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
    | st.decimals(allow_nan=False, allow_infinity=False) | st.datetimes(timezones=st.just(UTC)) | st.dates()
    | st.times() | st.timedeltas() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_any_value_of_a_result_becomes_strict_json(value: object) -> None:
    json.dumps(sql.jsonable(value), allow_nan=False)


def test_only_the_tables_that_are_named_are_planned() -> None:
    assert sql.mentioned("select * from Pages p join media using (url)") == {"pages", "media"}
    assert sql.mentioned("SHOW TABLES") == set(sql.VIEWS)


def test_a_remote_warehouse_is_read_through_fsspec(story: Story) -> None:
    """The same view over files that only fsspec can open, as in an s3 warehouse."""
    view = story.home.view()
    memory = fsspec.filesystem("memory")
    urls = []
    for number, url in enumerate(view.urls("pages")):
        memory.pipe_file(f"/warehouse/{number}.parquet", Path(url).read_bytes())
        urls.append(f"memory://warehouse/{number}.parquet")
    pinned = view.pinned("pages")
    assert pinned is not None
    view._pinned["pages"] = replace(pinned, urls=tuple(urls))
    with sql.connect(view, ["pages"]) as db:
        assert db.sql("SELECT count(*) FROM pages").fetchall() == [(7,)]
    memory.rm("/warehouse", recursive=True)


def test_rendering_shows_names_values_and_the_count(story: Story) -> None:
    sink = io.StringIO()
    console = Console(file=sink, width=100)
    sql.render(sql.query(story.home, "SELECT '[red]' AS kind, NULL AS nothing, 3 AS n"), console)
    sql.render({"rows": []}, console)
    assert all(words in sink.getvalue() for words in ("kind", "[red]", "1 row", "no rows"))
