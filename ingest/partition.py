"""Which of several crawl processes a host belongs to."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True)
class Partition:
    """The `index`-th of `count` shares of all hosts; local files, which have no host, belong to the first."""

    index: int
    count: int

    def owns(self, host: str) -> bool:
        """Say whether a host is in this share."""
        return self.count == 1 or part_of(host, self.count) == self.index


def part_of(host: str, count: int) -> int:
    """Return the number of the share that holds a host, the same on every machine."""
    return int.from_bytes(sha256(host.encode()).digest()[:8]) % count if host else 0


WHOLE = Partition(0, 1)
