"""Durable files: whole or absent, never replaced, synced before anything points at them."""

import os
from pathlib import Path

import fsspec
import pytest

from catalog import files
from catalog.durable import DurableFileIO


def test_a_new_file_appears_whole_and_is_never_replaced(tmp_path: Path) -> None:
    url = str(tmp_path / "a" / "b" / "x.bin")
    assert files.write_new(url, b"first")
    inode = Path(url).stat().st_ino
    assert not files.write_new(url, b"second")
    assert Path(url).read_bytes() == b"first"
    assert Path(url).stat().st_ino == inode
    assert [path.name for path in Path(url).parent.iterdir()] == ["x.bin"]


def test_write_new_on_a_remote_file_system_keeps_what_is_there() -> None:
    assert files.write_new("memory://bucket/x.bin", b"first")
    assert not files.write_new("memory://bucket/x.bin", b"second")
    assert fsspec.filesystem("memory").cat("/bucket/x.bin") == b"first"
    assert files.list_names("memory://bucket") == ["x.bin"]
    assert files.list_names("memory://nothing") == []


def test_nothing_stays_behind_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_new(str(tmp_path / "x.bin"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_behind_when_replacing_fails(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(str(tmp_path / "taken"), b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_file_and_folder_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    files.write_new(str(tmp_path / "new" / "x.bin"), b"data")
    folder = tmp_path / "new"
    assert synced[0] == str(tmp_path)  # the new folder's entry
    assert synced[1].startswith(f"{folder}/.x.bin.")
    assert synced[2:] == [str(folder)]


def test_listing_is_sorted_and_leaves_unfinished_files_out(tmp_path: Path) -> None:
    for name in ("b", "a", ".a.1234.tmp"):
        (tmp_path / name).touch()
    assert files.list_names(str(tmp_path)) == ["a", "b"]
    assert files.list_names(str(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("url", "local"), [("/a/b", True), ("file:///a/b", True), ("s3://a/b", False), ("memory://a", False), ("a b", True)]
)
def test_local_urls_are_told_from_remote_ones(url: str, local: bool) -> None:
    assert files.is_local(url) is local


def test_join_uses_single_slashes() -> None:
    assert files.join("s3://bucket/", "/a/", "b") == "s3://bucket/a/b"
    assert files.join("/w", "data", "t") == "/w/data/t"


def test_iceberg_files_are_synced_with_their_folder_on_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    output = DurableFileIO().new_output(f"file://{tmp_path}/m.json")
    with output.create() as stream:
        stream.write(b"{}")
        assert not stream.closed
    assert stream.closed
    stream.close()  # twice is fine
    assert synced == [str(tmp_path / "m.json"), str(tmp_path)]
    assert len(output) == 2
    with pytest.raises(FileExistsError):
        output.create()
    with output.create(overwrite=True) as stream:
        stream.write(b"[1]")
    assert (tmp_path / "m.json").read_bytes() == b"[1]"
