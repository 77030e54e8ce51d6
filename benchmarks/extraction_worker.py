"""One process of the extraction benchmark: `extraction_worker.py SYSTEM FOLDER PART PARTS` reads its part of the pages.

It runs in headrace's environment or in the peers', so it imports neither before it knows the system. It prints one line
of JSON: pages read, pages lost, seconds and processor seconds without imports and warm-up, and peak memory.
"""

import json
import logging
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

Pages = list[tuple[str, bytes]]  # URL and payload
WARM_UP = 5


def main(system: str, folder: str, part: str, parts: str) -> None:
    """Read every PARTS-th page of the folder from PART on, and print the figures."""
    logging.disable(logging.CRITICAL)
    files = sorted(Path(folder).iterdir())
    pages = [(f"https://e.org/{path.name}", path.read_bytes()) for path in files[int(part) :: int(parts)]]
    run = SYSTEMS[system]()
    run(pages[:WARM_UP])
    spent, started = _processor_seconds(), time.monotonic()
    kept = run(pages)
    seconds = time.monotonic() - started
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    figures = {"pages": len(pages), "lost": len(pages) - kept, "seconds": seconds}
    print(json.dumps(figures | {"processor_seconds": _processor_seconds() - spent, "peak_mib": peak / 1024}))


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _headrace() -> Callable[[Pages], int]:
    """Text, blocks, media, anchors and metadata, as the extract stage reads them before cleaning."""
    from ingest.content import anchors
    from ingest.reading import read_content
    from ingest.settings import CleaningRules, ExtractSettings

    rules, wanted = CleaningRules(), ExtractSettings()

    def run(pages: Pages) -> int:
        kept = 0
        for url, payload in pages:
            content = read_content(payload, "html", url, "text/html", rules, wanted)
            anchors(content.references, content.page, content.kept)
            kept += bool(content.kept)
        return kept

    return run


def _headrace_document() -> Callable[[Pages], int]:
    """The same with cleaning, PII masking, language and quality: whole rows of `documents`."""
    from ingest.document import read_document
    from ingest.rejected import Rejected
    from ingest.settings import CleaningRules, ExtractSettings

    rules, wanted = CleaningRules(), ExtractSettings()

    def run(pages: Pages) -> int:
        kept = 0
        for url, payload in pages:
            row = {"url": url, "page_id": url, "content_type": "text/html"}
            try:
                kept += bool(read_document(payload, "html", row, rules, wanted)["text"])
            except Rejected:
                continue
        return kept

    return run


def _trafilatura() -> Callable[[Pages], int]:
    """The bare library with its defaults: text alone."""
    from trafilatura import extract

    return lambda pages: sum(bool(extract(payload)) for _, payload in pages)


def _datatrove() -> Callable[[Pages], int]:
    """datatrove's extractor step with its defaults, which calls the trafilatura that it requires in a sandbox."""
    from datatrove.data import Document
    from datatrove.pipeline.extractors import Trafilatura

    def documents(pages: Pages) -> Iterable[Document]:
        return (Document(text=payload.decode("utf-8", "replace"), id=url) for url, payload in pages)

    return lambda pages: sum(1 for _ in Trafilatura().run(documents(pages)))


SYSTEMS = {
    "headrace": _headrace,
    "headrace_document": _headrace_document,
    "trafilatura": _trafilatura,
    "datatrove": _datatrove,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
