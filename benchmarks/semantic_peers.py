"""Deduplicate by given vectors with semhash, in the peers' environment: `python semantic_peers.py INPUT.npz OUTPUT`.

INPUT holds vectors [N, D] and thresholds; records are their numbers. OUTPUT gets, for each threshold, seconds, CPU
seconds, and which record was dropped for which. It imports nothing of headrace.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from semhash import SemHash


def main(source, output):
    given = np.load(source)
    vectors = given["vectors"]
    records = [str(number) for number in range(len(vectors))]
    found = {}
    for threshold in given["thresholds"].tolist():
        started, cpu = time.perf_counter(), cpu_seconds()
        result = SemHash.from_embeddings(vectors, records, model=None).self_deduplicate(threshold)
        pairs = [(int(one.record), int(one.duplicate_of)) for one in result.filtered]
        used = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu}
        found[str(threshold)] = {**used, "pairs": pairs}
    Path(output).write_text(json.dumps(found))


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:])
