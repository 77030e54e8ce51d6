"""What the trainer keeps beside the tables, and how it forgets what was taken down."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from catalog.evidence import model_repository
from catalog.home import Home
from catalog.settings import Config
from catalog.tombstones import Forgotten
from trainer.job import only_one, rounds_folder
from trainer.registry import Registry


class RoundKeeper:
    """Rounds that a kill left open; versions stay, and the receipt names those that were trained on what is gone."""

    @contextmanager
    def quiet(self, home: Home, config: Config) -> Iterator[None]:
        """Keep training out; raise CommitConflict if a round is running."""
        with only_one(rounds_folder(home)):
            yield

    def forget(self, home: Home, config: Config, forgotten: Forgotten) -> Mapping[str, int]:
        """Remove every open round: the next run plans again from what is left."""
        folders = [path for path in rounds_folder(home).iterdir() if path.is_dir()]
        for folder in folders:
            shutil.rmtree(folder)
        return {"open_rounds": len(folders)}

    def problems(self, root: Path) -> Iterator[str]:
        """Compare model versions with what was committed, and weights with the hashes that name them."""
        return Registry(model_repository(root)).problems()


KEEPER = RoundKeeper()
