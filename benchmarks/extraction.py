"""Compare headrace's extraction with trafilatura and datatrove: `python -m benchmarks.extraction DATA/README.md`.

Speed: each system reads the same real pages in two processes, in turns; `ratio` is its pages per second over bare
trafilatura's. Quality: precision, recall and F1 of 4-word shingles, as article-extraction-benchmark counts them, over
its news pages, and over manuals whose text is known from their structure; headrace with and without its captions, which
the reference of the news leaves out.
"""

import argparse
import gzip
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxml import html
from trafilatura import extract

from benchmarks import peers
from ingest.charset import decode_text
from ingest.reading import read_content
from ingest.settings import CleaningRules, ExtractSettings

WORKER = Path(__file__).with_name("extraction_worker.py")
PROCESSES = 2
WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
NGRAM = 4
BREAKS = ("td", "th", "li", "p", "div", "dt", "dd", "tr", "pre", "br", "h1", "h2", "h3", "h4", "h5")
FURNITURE = '//*[contains(@class, "navheader") or contains(@class, "navfooter")] | //script | //style | //head'


def main(arguments: Sequence[str]) -> None:
    """Print the figures of speed and quality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a file of the folder that holds pages/ and site/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args(arguments)
    data = given.data.parent
    result = {"speed": measure_speed(data, given.rounds), "quality": measure_quality(data)}
    print(json.dumps(result, indent=None if given.json else 1))


def measure_speed(data: Path, rounds: int) -> dict[str, Any]:
    """Return the median figures of each system over the rounds."""
    systems = {"headrace": sys.executable, "headrace_document": sys.executable, "trafilatura": sys.executable}
    if peer := peers.python():
        systems["datatrove"] = str(peer)
    else:
        print(peers.missing("datatrove"), file=sys.stderr)
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    with tempfile.TemporaryDirectory() as folder:
        pages = _spread(data, Path(folder))
        for _ in range(rounds):
            for name, python in systems.items():
                taken[name].append(_run(name, python, folder))
    figures: dict[str, Any] = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in taken.items()
    }
    bare = taken["trafilatura"]
    for name, runs in taken.items():
        for key, ratio in (("pages_per_second", "ratio"), ("pages_per_processor_second", "processor_ratio")):
            ratios = [one[key] / other[key] for one, other in zip(runs, bare, strict=True)]
            figures[name][ratio] = statistics.median(ratios)
    return {"pages": pages, "processes": PROCESSES, **figures}


def _spread(data: Path, folder: Path) -> int:
    news = sorted((data / "pages").glob("*.html.gz"))
    manuals = sorted((data / "site").rglob("*.html"))
    for number, path in enumerate([*news, *manuals]):
        payload = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        (folder / f"{number:04d}.html").write_bytes(payload)
    return len(news) + len(manuals)


def _run(name: str, python: str, folder: str) -> dict[str, float]:
    """Run one system in PROCESSES processes at once; return its figures of all together."""
    children = [
        subprocess.Popen([python, WORKER, name, folder, str(part), str(PROCESSES)], stdout=subprocess.PIPE)
        for part in range(PROCESSES)
    ]
    runs = [json.loads(child.communicate()[0]) for child in children]
    pages = sum(run["pages"] for run in runs)
    processor = sum(run["processor_seconds"] for run in runs)
    return {
        "pages_per_second": pages / max(run["seconds"] for run in runs),
        "pages_per_processor_second": pages / processor,
        "processor_ms_per_page": 1000 * processor / pages,
        "peak_mib_per_process": max(run["peak_mib"] for run in runs),
        "lost": sum(run["lost"] for run in runs),
    }


def measure_quality(data: Path) -> dict[str, Any]:
    """Return precision, recall and F1 by set of pages and extractor."""
    truth = json.loads((data / "pages" / "ground-truth.json").read_text(encoding="utf-8"))
    sets = {"news": [(gzip.decompress((data / "pages" / f"{key}.html.gz").read_bytes()), item["articleBody"])
                     for key, item in truth.items()]}  # fmt: skip
    for name in ("guide", "zh"):
        payloads = [path.read_bytes() for path in sorted((data / "site" / name).glob("*.html"))]
        sets[name] = [(payload, _known_text(payload)) for payload in payloads]
    extractors: Mapping[str, Callable[[bytes], str | None]] = {
        "headrace": lambda payload: _headrace(payload, True),
        "headrace_without_captions": lambda payload: _headrace(payload, False),
        "trafilatura": extract,
        "trafilatura_without_comments": lambda payload: extract(payload, include_comments=False),
        "trafilatura_precision": lambda payload: extract(payload, include_comments=False, favor_precision=True),
        "trafilatura_recall": lambda payload: extract(payload, include_comments=False, favor_recall=True),
    }
    return {
        name: {
            key: score([(known, read(payload) or "") for payload, known in pages]) for key, read in extractors.items()
        }
        for name, pages in sets.items()
    }


def _headrace(payload: bytes, captions: bool) -> str:
    content = read_content(payload, "html", "https://e.org/", "text/html", CleaningRules(), ExtractSettings())
    return "\n\n".join(block.text for block in content.kept if captions or block.kind != "caption")


def _known_text(payload: bytes) -> str:
    """Return all of a manual's page but its navigation."""
    tree = html.fromstring(decode_text(payload, "text/html").encode(), parser=html.HTMLParser(encoding="utf-8"))
    for element in tree.xpath(FURNITURE):
        element.drop_tree()
    for element in tree.iter(*BREAKS):
        element.text, element.tail = f" {element.text or ''}", f" {element.tail or ''}"
    return " ".join(tree.itertext())


def score(texts: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the mean precision and recall over (true, extracted) texts, and the F1 of both means."""
    precisions, recalls = [], []
    for true, found in texts:
        one, other = _shingles(true), _shingles(found)
        both = (one & other).total()
        if other:
            precisions.append(both / other.total())
        if one:
            recalls.append(both / one.total())
    precision, recall = statistics.mean(precisions), statistics.mean(recalls)
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = WORD.findall(text)
    return Counter(tuple(words[at : at + NGRAM]) for at in range(max(1, len(words) - NGRAM + 1)) if words)


if __name__ == "__main__":
    main(sys.argv[1:])
