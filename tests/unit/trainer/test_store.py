"""Folders appear whole or not at all."""

from pathlib import Path

import pytest

from catalog import files
from catalog.errors import Corrupt
from trainer.store import file_sha256, folder_sha256, keep_folder, kept_folder, publish_folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_two(folder: Path) -> None:
    (folder / "a").write_bytes(b"1")
    (folder / "sub").mkdir()
    (folder / "sub" / "b").write_bytes(b"2")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    publish_folder(tmp_path / "deep" / "done", write_two)
    assert (tmp_path / "deep" / "done" / "sub" / "b").read_bytes() == b"2"
    assert names(tmp_path / "deep") == ["done"]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_two(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish_folder(tmp_path / "done", fail)
    assert names(tmp_path) == []


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    publish_folder(tmp_path / "done", write_two)
    publish_folder(tmp_path / "done", lambda folder: (folder / "c").touch())
    assert names(tmp_path / "done") == ["a", "sub"]


def test_a_folder_s_hash_depends_on_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two"):
        publish_folder(tmp_path / name, write_two)
    assert folder_sha256(tmp_path / "one") == folder_sha256(tmp_path / "two")
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "z")
    assert folder_sha256(tmp_path / "one") != folder_sha256(tmp_path / "two")


def test_what_is_kept_outlives_its_source(tmp_path: Path) -> None:
    publish_folder(tmp_path / "one", write_two)
    sha256 = keep_folder(tmp_path / "one", tmp_path / "shelf")
    files.replace(str(tmp_path / "one" / "a"), b"changed")
    assert (kept_folder(tmp_path / "shelf", sha256) / "a").read_bytes() == b"1"
    with pytest.raises(Corrupt):
        kept_folder(tmp_path / "shelf", "f" * 64)


def test_a_replaced_file_has_the_new_bytes_and_leaves_nothing_aside(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        files.replace(str(tmp_path / "file"), data)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]
    assert file_sha256(tmp_path / "file") == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
