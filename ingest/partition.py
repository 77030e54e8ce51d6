"""Which of several crawl processes a host belongs to."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path


@dataclass(frozen=True)
class Partition:
    """The `index`-th of `count` shares of all hosts; local files, which have no host, belong to the first."""

    index: int
    count: int

    def owns(self, host: str) -> bool:
        """Say whether a host is in this share."""
        return self.count == 1 or part_of(host, self.count) == self.index

    def portion(self, total: int) -> int:
        """Return this share's part of a number; the parts add up to it."""
        return total // self.count + (self.index < total % self.count)


def part_of(host: str, count: int) -> int:
    """Return the number of the share that holds a host, the same on every machine."""
    return int.from_bytes(sha256(host.encode()).digest()[:8]) % count if host else 0


WHOLE = Partition(0, 1)


def frontier_path(root: Path, part: Partition = WHOLE) -> Path:
    """Return where a share keeps its frontier: one file for a single crawl, one each in a folder for several."""
    return root / "frontier.db" if part.count == 1 else root / f"frontier-{part.count}" / f"{part.index}.db"


def frontier_files(root: Path) -> list[Path]:
    """Return the frontier files of a home, none where nothing was crawled."""
    single = root / "frontier.db"
    return [single] if single.is_file() else sorted(root.glob("frontier-*/*.db"))


def part_of_file(path: Path) -> Partition:
    """Return the share whose frontier a file is."""
    count = path.parent.name.removeprefix("frontier-")
    return Partition(int(path.stem), int(count)) if path.parent.name != count else Partition(0, 1)
