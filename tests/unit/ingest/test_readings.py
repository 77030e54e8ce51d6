"""What is remembered of archives, tables and lists."""

import sqlite3

import pytest

from ingest.readings import Readings


@pytest.fixture
def readings() -> Readings:
    return Readings(sqlite3.connect(":memory:", isolation_level=None))


def test_a_file_is_resumed_where_it_stopped_unless_it_has_changed(readings: Readings) -> None:
    assert readings.resume("/a.warc", "10-1") == 0
    readings.advance({"/a.warc": 7})
    readings.advance({"/a.warc": 3})
    assert readings.resume("/a.warc", "10-1") == 7
    assert readings.resume("/a.warc", "11-2") == 0


def test_a_record_counts_as_stored_until_the_file_was_read_without_it(readings: Readings) -> None:
    readings.resume("/t.csv", "1")
    readings.advance({}, [("/t.csv", "a"), ("/t.csv", "b")])
    readings.resume("/t.csv", "2")
    assert readings.holds("/t.csv", "a")
    assert not readings.holds("/other.csv", "a")
    readings.forget("/t.csv")
    assert readings.holds("/t.csv", "a")
    assert not readings.holds("/t.csv", "b"), "a row that comes back is stored again"


def test_hints_are_kept_by_url(readings: Readings) -> None:
    readings.hint({"http://a/": {"title": "T"}, "http://b/": {}})
    assert readings.hints_of("http://a/") == {"title": "T"}
    assert readings.hints_of("http://b/") == {}
