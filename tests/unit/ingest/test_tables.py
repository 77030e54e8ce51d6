"""Tables of every format come in row by row; a bad row or file costs itself alone and is named."""

import csv
import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet
from website import PNG, Answer, Crawler, serve

from catalog.errors import ConfigError
from catalog.schema import Reason
from ingest.fetch import Failure, Response
from ingest.hints import Medium, day_of, parse_time
from ingest.inputs import File
from ingest.members import Origin, resource_member
from ingest.rows import check_columns, choose_columns, read_table
from ingest.segment_rows import segment_tables
from ingest.segments import SegmentWriter
from ingest.settings import NetworkSettings
from ingest.source_settings import Source
from ingest.sources import Item
from ingest.tables import NotATable, column_names, read_rows

NETWORK = NetworkSettings()
ROWS = [{"url": f"http://e.org/{n}", "text": f"text {n}", "title": None if n % 2 else f"T{n}"} for n in range(7)]


def write(path: Path, rows: list[dict[str, Any]]) -> File:
    """Write a table in the format of its suffix."""
    if path.suffixes[0] == ".jsonl":
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
        return File(str(path), "")
    table = pa.Table.from_pylist(rows)
    match path.suffix:
        case ".parquet":
            parquet.write_table(table, path, row_group_size=3)
        case ".arrow":
            with ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
        case ".feather":
            path = path.with_suffix(".arrow")
            with ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
        case ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                sheet = csv.DictWriter(file, table.column_names)
                sheet.writeheader()
                sheet.writerows(rows)
    return File(str(path), "")


def items(file: File, first: int = 0, **given: Any) -> list[Item]:
    source = Source.model_validate({"url": file.path, "kind": "table", **given})
    return list(read_table(file, first, source, NETWORK))


def reasons(found: list[Item]) -> list[Reason]:
    return [item.content.reason for item in found if isinstance(item.content, Failure)]


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.feather", "t.csv", "t.jsonl", "t.jsonl.gz"])
def test_every_format_gives_the_same_records_and_is_resumed_by_row(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, ROWS)
    assert column_names(file, NETWORK) == ["url", "text", "title"]
    found = items(file)
    assert [(item.url, item.index) for item in found] == [(f"http://e.org/{n}", n) for n in range(7)]
    assert [item.content.body for item in found if isinstance(item.content, Response)][3] == b"text 3"
    assert [item.hints.title for item in found[:2]] == ["T0", ""]
    assert found[2].referrer == f"{file.url}#row=3"
    for first in range(8):
        assert [item.index for item in items(file, first)] == list(range(first, 7))


def test_columns_are_guessed_named_and_refused() -> None:
    def choose(names: list[str], **columns: str) -> dict[str, str] | str:
        return choose_columns(Source.model_validate({"url": "x.csv", "columns": columns}), names)

    assert choose(["URL", "TEXT", "License"], image="URL") == {"image": "URL", "text": "TEXT", "licence": "License"}
    assert choose(["text", "body"], text="body", url="-") == {"text": "body"}
    assert choose(["text"], text="body") == "there is no column 'body' (columns.text); there are: text"
    assert "no column holds text" in choose(["a", "b"])


def test_a_wrong_column_name_stops_before_anything_is_read(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", ROWS)
    source = Source.model_validate({"url": str(tmp_path / "t.csv"), "columns": {"text": "txt"}})
    with pytest.raises(ConfigError, match=r"t.csv: there is no column 'txt' \(columns.text\); there are: url, text"):
        check_columns(source, NETWORK)
    with pytest.raises(ConfigError, match="there is no column 'txt'"):
        Crawler(tmp_path / "home").run({"url": str(tmp_path / "t.csv"), "columns": {"text": "txt"}})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.jsonl",
            b'{"text": "a"}\n{"text": \n[1]\n{"text": 5}\n{"text": " "}\n\n{"text": "z"}\n',
            "row 2: Expecting",
        ),
        ("t.csv", b'text,title\r\na,1\r\nb\r\nc,2,3\r\n"open', "line 3: 1 cells, where the header names 2"),
        ("t.tsv", b"text\ttitle\na\t1\nb\nz\t2\n", "line 3: 1 cells"),
    ],
)
def test_bad_rows_are_named_and_the_others_come_in(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = items(File(str(tmp_path / name), ""))
    failures = [item.content for item in found if isinstance(item.content, Failure)]
    assert {failure.reason for failure in failures} == {Reason.BAD_ROW}
    assert f"{tmp_path / name}: {message}" in failures[0].detail
    assert next(item.content.body for item in found if isinstance(item.content, Response)) == b"a"
    assert len({item.index for item in found}) == len(found)


def test_csv_may_hold_nul_other_delimiters_line_breaks_and_a_legacy_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbftext;title\r\n"two\r\nlines";a\x00b\r\n')
    (found,) = items(File(str(tmp_path / "t.csv"), ""))
    assert isinstance(found.content, Response)
    assert (found.content.body, found.hints.title) == (b"two\r\nlines", "a\x00b")
    chinese = "正文,标题\n" + "这是一个用国家标准编码写成的表格，里面有一些普通的中文句子。,题目\n" * 20
    (tmp_path / "g.csv").write_bytes(chinese.encode("gb18030"))
    first = items(File(str(tmp_path / "g.csv"), ""), columns={"text": "正文"})[0]
    assert isinstance(first.content, Response)
    assert first.content.body.decode().startswith("这是一个用国家标准编码写成")


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl.gz", "t.xlsx"])
def test_a_file_that_is_no_table_is_one_reject(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 and nothing more")
    (found,) = items(File(str(tmp_path / name), ""))
    assert reasons([found]) == [Reason.CORRUPT]
    assert name in str(found.content)


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl.gz"])
def test_what_stands_before_damage_comes_in(tmp_path: Path, name: str) -> None:
    rows = [{"text": random.Random(n).randbytes(9000).hex()} for n in range(30)]
    file = write(tmp_path / name, rows)
    content = bytearray(Path(file.path).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200
    Path(file.path).write_bytes(content if name == "t.parquet" else content[: -len(content) // 4])
    found = items(file)
    assert set(reasons(found)) <= {Reason.CORRUPT, Reason.BAD_ROW}
    assert reasons(found)
    assert sum(isinstance(item.content, Response) for item in found) >= 3


def test_a_row_may_hold_its_pictures_or_name_them(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.png").write_bytes(PNG)
    rows = [
        {"id": "x", "text": "one", "image": "media/a.png"},
        {"id": "y", "text": "two", "image": "http://cdn.e.org/b.jpg"},
        {"id": "z", "text": "three", "image": "/etc/passwd"},
        {"id": "w", "text": "", "image": "http://cdn.e.org/c.jpg"},
    ]
    file = write(tmp_path / "t.jsonl", rows)
    found = items(file)
    picture = f"file://{tmp_path}/media/a.png"
    assert [(item.url, item.index) for item in found] == [
        (picture, None), (f"{file.url}#id=x", 0), ("http://cdn.e.org/b.jpg", None), (f"{file.url}#id=y", 1),
        (f"{file.url}#id=z", 2), ("http://cdn.e.org/c.jpg", 3),
    ]  # fmt: skip
    assert found[1].hints.media == (Medium(picture, "image"),)
    assert (found[2].content, found[2].referrer) == (None, f"{file.url}#id=y"), "the crawler fetches it, by its rules"
    assert reasons(found) == [Reason.BAD_ROW], "a table does not read files outside its folder"
    saved = [{"text": "one", "image": {"bytes": PNG, "path": None}, "audio": [b"no sound"]}]
    embedded = items(write(tmp_path / "t.parquet", saved))
    assert [item.content_type for item in embedded] == ["image/png", "", "text/plain"]
    assert reasons(embedded) == [Reason.WRONG_TYPE]
    assert embedded[2].index == 0


def test_what_a_saved_dataset_and_addresses_alone_bring(tmp_path: Path) -> None:
    root = tmp_path / "saved" / "train"
    root.mkdir(parents=True)
    write(root / "data-00000-of-00001.arrow", [{"text": "a text of a saved dataset", "lang": "en"}])
    (root / "cache-123.arrow").write_bytes(b"left behind")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with serve() as site:
        site.page("/p", "a page that a row names", images=("/p.png",))
        site.page("/linked", "never asked for")
        site.routes["/p.png"] = Answer(PNG, headers={"Content-Type": "image/png"})
        write(tmp_path / "t.csv", [{"url": f"{site.url}/p", "title": "Told"}])
        crawler = Crawler(tmp_path / "home")
        crawler.run(str(tmp_path / "saved"), {"url": str(tmp_path / "t.csv"), "class": "social"})
        pages = crawler.pages()
    row = next(url for url in pages if url.endswith(".arrow#row=1"))
    assert pages[row]["hints"]["language"] == "en"  # type: ignore[index]
    assert set(pages) == {row, f"{site.url}/p", f"{site.url}/p.png"}
    page = pages[f"{site.url}/p"]
    assert (page["hints"]["title"], page["source_class"]) == ("Told", "social")  # type: ignore[index]
    assert str(page["referrer"]).endswith("t.csv#row=1") or page["referrer"] is None
    assert not crawler.rejects()


def test_a_table_that_grew_or_changed_brings_what_is_new(tmp_path: Path) -> None:
    crawler = Crawler(tmp_path / "home")
    path = tmp_path / "t.jsonl"
    rows = [{"url": "http://e.org/a", "text": "one"}, {"url": "http://e.org/a", "text": "two"}, {"text": "three"}]
    write(path, rows)
    assert crawler.run(str(path)).outputs == {"pages": 3}
    assert crawler.run(str(path)).batches == 0
    write(path, [*rows, {"url": "http://e.org/b", "text": "four"}])
    assert crawler.run(str(path)).outputs == {"pages": 1}
    limited = {"url": str(path), "max_pages": 1}
    write(path, [*rows, *({"url": f"http://e.org/n{n}", "text": f"new {n}"} for n in range(3))])
    assert [crawler.run(limited).outputs for _ in range(4)] == [{"pages": 1}] * 3 + [{}]


@given(
    st.lists(st.dictionaries(st.sampled_from(["text", "title", "url", "n"]), st.none() | st.integers() | st.text())),
    st.integers(0, 9),
)
def test_whatever_json_lines_hold_each_row_ends_somewhere(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], first: int
) -> None:
    file = write(tmp_path_factory.mktemp("rows") / "t.jsonl", [{"text": "x", "title": None, "url": None}, *rows])
    found = items(file, first)
    assert sorted({item.index for item in found if item.index is not None}) == list(range(first, len(rows) + 1))


def test_times_are_read_as_tables_and_feeds_write_them() -> None:
    days = [
        "2026-01-02",
        "2026-01-02T03:04:05Z",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "2026/1/2",
        "2026年1月2日",
        1767323045,
    ]
    assert {day_of(value) for value in [*days, 1767323045000, "2026-01-02 03:04:05.123 UTC"]} == {"2026-01-02"}
    nonsense: Iterator[object] = iter(["", "soon", None, True, 1e300, "2026-13-01", [], {}])
    assert [parse_time(value) for value in nonsense] == [None] * 8


def test_an_unknown_suffix_is_named() -> None:
    with pytest.raises(NotATable, match=r"x.xlsx: tables are read from .parquet, .arrow"):
        list(read_rows(File("x.xlsx", ""), 0, (), NETWORK))


HOSTILE_IDS = ["a\r\n\r\nb", "a\nWARC-Type: x", "a\ud800", " a ", "<a>", "a%0A", "a\n", "漢 字", "x" * 200_000]


def test_whatever_an_id_holds_its_row_is_written_and_read_back(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.jsonl", [{"id": value, "text": "some text", "title": "t\ud800"} for value in HOSTILE_IDS]
    )
    found = items(file)
    writer = SegmentWriter(tmp_path, "headrace/test")
    for item in found:
        assert isinstance(item.content, Response)
        origin = Origin("page", "", file.path, "other", 0, None, "", hints=item.hints.as_dict())
        sha256 = hashlib.sha256(item.content.body).hexdigest()
        writer.append(resource_member(item.url, item.content.body, "text/plain", sha256, origin, 1.0))
    writer.seal()
    tables = segment_tables("", str(writer.path))
    assert tables["rejects"].num_rows == 0
    assert set(tables["pages"].column("url").to_pylist()) == {item.url for item in found}
    assert len({item.url for item in found}) == len(HOSTILE_IDS)
    assert f"{file.url}#id=漢 字" in {item.url for item in found}
