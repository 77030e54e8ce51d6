"""Measure whether article pictures are kept and stand at the right block: `python -m benchmarks.anchors DATA/README.md`

benchmarks/labels/anchors.json names, by URL, the pictures that belong to each page's article, told by hand on news
pages and by the structure of manuals, and for each the blocks where it may stand: its own, its caption, the one before
it, or at the head of an article the title and the first paragraph. A block is named by hashes of its first (h) and last
(t) 32 letters. `neutral` pictures (thumbnails of a gallery, frames of a film) count neither way, nor does og:image.
The news pages are those on which the rules were made.
"""

import argparse
import gzip
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.content import anchors, compact
from ingest.reading import read_content
from ingest.settings import CleaningRules, ExtractSettings

LABELS = Path(__file__).parent / "labels" / "anchors.json"
BASE = "http://e.org/"
LETTERS = 32


def main(arguments: Sequence[str]) -> None:
    """Print recall of pictures at the right block, and precision of the pictures kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a file of the folder that holds pages/ and site/")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    given = parser.parse_args(arguments)
    data, labels = given.data.parent, json.loads(LABELS.read_text(encoding="utf-8"))
    truth = json.loads((data / "pages" / "ground-truth.json").read_text(encoding="utf-8"))
    news, manuals = Counter[str](), Counter[str]()
    for key, label in labels["pages"].items():
        payload = gzip.decompress((data / "pages" / f"{key}.html.gz").read_bytes())
        news += judge(payload, truth[key]["url"], label["images"], label["neutral"])
    for path, label in labels["site"].items():
        images = {BASE + url: blocks for url, blocks in label["images"].items()}
        manuals += judge((data / "site" / path).read_bytes(), BASE + path, images, ())
    result = {"news": _figures(news), "manuals": _figures(manuals), "all": _figures(news + manuals)}
    print(json.dumps(result, indent=None if given.json else 1))


def judge(payload: bytes, url: str, images: Mapping[str, Sequence[str]], neutral: Sequence[str]) -> Counter[str]:
    """Count the labelled pictures of one page, those kept, those at a right block, and the kept ones not labelled."""
    content = read_content(payload, "html", url, "text/html", CleaningRules(), ExtractSettings())
    shown = {reference.url for reference in content.page.references if reference.kind == "image"}
    places = anchors(content.references, content.page, content.kept)
    kept = {item.url: place for item, place in zip(content.references, places, strict=True) if item.url in shown}
    counts = Counter(labelled=len(images), kept=len(kept.keys() & images.keys()))
    counts["extra"] = len(kept.keys() - images.keys() - set(neutral))
    for address in kept.keys() & images.keys():
        place = kept[address]
        letters = compact(content.kept[place].text).lower() if place is not None else ""
        names = {f"h{_hash(letters[:LETTERS])}", f"t{_hash(letters[-LETTERS:])}"}
        counts["right"] += bool(names & set(images[address]))
    return counts


def _hash(letters: str) -> str:
    return hashlib.sha256(letters.encode()).hexdigest()[:16]


def _figures(counts: Counter[str]) -> dict[str, Any]:
    return {
        "labelled": counts["labelled"],
        "kept": counts["kept"],
        "extra": counts["extra"],
        "anchored": counts["right"] / counts["labelled"],
        "precision": counts["kept"] / (counts["kept"] + counts["extra"]),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
