"""What a vector index holds, beside its files: checked without reading a vector."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from catalog.errors import Corrupt

FOLDER = "vectors"
LAYOUT = 2


@dataclass(frozen=True)
class Segment:
    """What the manifest says of a piece; its files are named by their content and never change."""

    file: str
    sha256: str
    ids_file: str
    ids_sha256: str
    rows: int
    kind: Literal["flat", "ivf"]
    nprobe: int = 0  # inverted lists that a search reads, chosen by the recall that was measured; 0 for flat


@dataclass(frozen=True)
class Manifest:
    """What an index holds; written last, so index and manifest never disagree."""

    table: str
    model: str
    revision: str
    dimension: int
    batches: tuple[str, ...]
    segments: tuple[Segment, ...]

    def encode(self) -> bytes:
        """Write it as JSON that carries its own digest."""
        told = {"layout": LAYOUT, "metric": "inner_product", **asdict(self)}
        return json.dumps({**told, "digest": _digest(told)}, indent=1).encode()

    @classmethod
    def decode(cls, path: Path) -> "Manifest | None":
        """Read it; return None where an older version of headrace wrote it, raise Corrupt if it is damaged."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told.get("layout", 1) < LAYOUT:
                return None
            digest = told.pop("digest")
        except (ValueError, KeyError, AttributeError) as error:
            raise Corrupt(f"{path} is no manifest; run headrace doctor --repair") from error
        if digest != _digest(told):
            raise Corrupt(f"{path} does not match its own digest; run headrace doctor --repair")
        segments = tuple(Segment(**item) for item in told["segments"])
        names = ("table", "model", "revision", "dimension")
        return cls(**{name: told[name] for name in names}, batches=tuple(told["batches"]), segments=segments)


def manifests(folder: Path) -> Iterator[Path]:
    """Yield the manifest file of every index below the folder of indexes."""
    yield from sorted((folder / FOLDER).glob("*.json"))


def problem_of(path: Path, published: frozenset[str]) -> str | None:
    """Say what is wrong with an index, from its files alone: damage, or batches that nobody published."""
    try:
        manifest = Manifest.decode(path)
        if manifest is None:
            return "was written by an older version of headrace"
        for told in manifest.segments:
            check_file(path.parent / told.file, told.sha256)
            check_file(path.parent / told.ids_file, told.ids_sha256)
    except Corrupt as error:
        return str(error).partition(";")[0].removeprefix(f"{path.parent}/")
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    strange = set(manifest.batches) - published
    return f"holds batch {min(strange)}, which nobody published" if strange else None


def drop(path: Path) -> None:
    """Remove an index; the next search builds it anew."""
    for file in (path, *path.parent.glob(f"{path.stem}-*")):
        file.unlink(missing_ok=True)


def check_file(path: Path, sha256: str) -> None:
    """Raise Corrupt if a file does not have this SHA-256, FileNotFoundError if it is gone."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise Corrupt(f"{path} does not match its manifest; run headrace doctor --repair")


def _digest(told: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
