"""What packages keep beside the tables: how it is forgotten with what was taken down, and whether it is sound."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from catalog.settings import Config
from catalog.tombstones import Forgotten

if TYPE_CHECKING:
    from catalog.home import Home


class Keeper(Protocol):
    """What a package keeps beside the tables; packages offer theirs as `headrace.keepers`."""

    def quiet(self, home: "Home", config: Config) -> AbstractContextManager[None]:
        """Publish what is waiting and keep its jobs from running meanwhile; raise if one runs."""

    def forget(self, home: "Home", config: Config, forgotten: Forgotten) -> Mapping[str, int]:
        """Remove what was taken down; say how much of what."""

    def problems(self, root: Path) -> Iterable[str]:
        """Say what is damaged, for `headrace doctor`; nothing where that cannot be told or is made anew."""


def keepers() -> Iterator[Keeper]:
    """Yield the keeper of every installed package, in the order of their names."""
    for point in sorted(entry_points(group="headrace.keepers"), key=lambda point: point.name):
        yield point.load()
