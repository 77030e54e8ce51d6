"""Opening a home."""

from pathlib import Path

import pytest

from catalog.errors import Corrupt, InputError
from catalog.home import Home
from catalog.proving import toychain
from catalog.settings import CatalogSettings


@pytest.fixture(autouse=True)
def _cheap_stages() -> None:
    toychain.install()


@pytest.mark.parametrize("empty", [True, False])
def test_tables_without_their_catalog_are_not_taken_for_a_new_home(tmp_path: Path, empty: bool) -> None:
    toychain.drive(tmp_path, range(1)).close()
    (tmp_path / "catalog.db").unlink()
    if empty:
        (tmp_path / "catalog.db").touch()
    with pytest.raises(Corrupt, match=r"catalog\.db is missing or empty .* restore it"):
        Home.open(CatalogSettings(root=tmp_path))


def test_a_path_that_no_table_can_name_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not UTF-8"):
        Home.open(CatalogSettings(root=tmp_path / "a\udcff"))
    assert list(tmp_path.iterdir()) == []


def test_a_new_home_is_empty(tmp_path: Path) -> None:
    with Home.open(CatalogSettings(root=tmp_path / "new")) as home:
        assert home.view().seq == 0
