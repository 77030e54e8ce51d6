"""What maps and topics keep beside the tables, and how it is forgotten with what was taken down."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from catalog.home import Home
from catalog.settings import Config
from catalog.tombstones import Forgotten
from multimodal.pca import FOLDER


class DerivedKeeper:
    """Components, topics and their names come from vectors and texts; commands that need them make them anew."""

    @contextmanager
    def quiet(self, home: Home, config: Config) -> Iterator[None]:
        """Keep nothing out: what a command writes meanwhile is removed, or was made from what is left."""
        yield

    def forget(self, home: Home, config: Config, forgotten: Forgotten) -> Mapping[str, int]:
        """Remove everything derived."""
        folder = home.root / FOLDER
        number = sum(path.is_file() for path in folder.glob("*"))
        if folder.exists():
            shutil.rmtree(folder)  # what cannot be removed is not forgotten: the takedown says so, and is tried again
        return {"derived_files": number}

    def problems(self, root: Path) -> Iterable[str]:
        """Say nothing: all of it is made anew."""
        return ()


KEEPER = DerivedKeeper()
