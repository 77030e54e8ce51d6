"""Find near-duplicates with a peer, in the peers' environment: `python minhash_peers.py SYSTEM DOCUMENTS OUTPUT`.

DOCUMENTS holds JSON lines of id and text, read before the clock starts. OUTPUT gets seconds, CPU seconds, and the pairs
or clusters that the system names. It imports nothing of headrace.
"""

import json
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+")


def shingles(text, size):
    words = WORD.findall(text.lower())
    return {" ".join(words[k : k + size]) for k in range(len(words) - size + 1)}


def datasketch(documents, size, bands, rows, threshold):
    """Add each document to the index and verify what it meets by the estimate, as datasketch's guide does."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    made = MinHash.generator(
        ([s.encode() for s in shingles(d["text"], size)] for d in documents), num_perm=bands * rows
    )
    known, pairs = {}, []
    for document, minhash in zip(documents, made, strict=True):
        for other in index.query(minhash):
            if minhash.jaccard(known[other]) >= threshold:
                pairs.append((document["id"], other))
        index.insert(document["id"], minhash)
        known[document["id"]] = minhash
    return pairs


def rensa(documents, size, bands, rows, threshold):
    """Add each document to rensa's deduplicator, which verifies by the estimate."""
    from rensa import RMinHash, RMinHashDeduplicator

    found = RMinHashDeduplicator(threshold=threshold, num_perm=bands * rows, use_lsh=True, num_bands=bands)
    made = RMinHash.from_token_sets(
        [list(shingles(d["text"], size)) for d in documents], num_perm=bands * rows, seed=42
    )
    pairs = []
    for document, minhash in zip(documents, made, strict=True):
        pairs += [(document["id"], other) for other in found.get_duplicates(minhash)]
        found.add(document["id"], minhash)
    return pairs


def rensa_signatures(documents, size, bands, rows, threshold):
    """Shingle and sign, no more."""
    from rensa import RMinHash

    RMinHash.digest_matrix_from_token_sets([list(shingles(d["text"], size)) for d in documents], bands * rows, 42)
    return []


def datatrove(documents, size, bands, rows, threshold):
    """Run the four steps with two workers; the threshold is the bands' own."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    folder = Path(tempfile.mkdtemp())
    config = MinhashConfig(n_grams=size, num_buckets=bands, hashes_per_bucket=rows)
    for part in range(2):
        lines = [json.dumps({"id": d["id"], "text": d["text"]}) for d in documents[part::2]]
        (folder / "in").mkdir(exist_ok=True)
        (folder / "in" / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    reader = JsonlReader(str(folder / "in"))

    def place(name):
        return str(folder / name)

    remove = MinhashDedupFilter(place("remove"), JsonlWriter(place("removed"), compression=None), load_cluster_ids=True)
    steps = [
        ([reader, MinhashDedupSignature(place("sigs"), config)], 2),
        ([MinhashDedupBuckets(place("sigs"), place("buckets"), config=config)], bands),
        ([MinhashDedupCluster(place("buckets"), place("remove"), config=config, save_cluster_id=True)], 1),
        ([reader, remove, JsonlWriter(place("kept"), compression=None)], 2),
    ]  # fmt: skip
    for number, (pipeline, tasks) in enumerate(steps):
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=2, logging_dir=place(f"logs{number}")).run()
    clusters = {}
    for path in [*(folder / "kept").iterdir(), *(folder / "removed").iterdir()]:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            cluster = (row.get("metadata") or {}).get("minhash_cluster_id", -1)
            if cluster is not None and cluster >= 0:
                clusters.setdefault(cluster, []).append(row["id"])
    shutil.rmtree(folder)
    return [(ids[0], other) for ids in clusters.values() for other in ids[1:]]


SYSTEMS = {
    "datasketch, word-5, 16x8": (datasketch, 5, 16, 8, 0.7),
    "datasketch, word-3, 32x4": (datasketch, 3, 32, 4, 0.5),
    "rensa, word-5, 16x8": (rensa, 5, 16, 8, 0.7),
    "rensa, word-3, 32x4": (rensa, 3, 32, 4, 0.5),
    "rensa, signatures only, word-3": (rensa_signatures, 3, 32, 4, 0.5),
    "datatrove, defaults (5-grams, 14x8)": (datatrove, 5, 14, 8, 0.0),
    "datatrove, 3-grams, 32x4": (datatrove, 3, 32, 4, 0.0),
}


def main(system, source, output):
    documents = [json.loads(line) for line in Path(source).read_text().splitlines()]
    before = peak_mib()
    started, cpu = time.perf_counter(), cpu_seconds()
    find, *arguments = SYSTEMS[system]
    pairs = find(documents, *arguments)
    result = {"seconds": time.perf_counter() - started, "cpu_seconds": cpu_seconds() - cpu, "pairs": pairs}
    if find is datatrove:
        result["cpu_seconds"] = None  # its workers are not this process's children
    Path(output).write_text(json.dumps({**result, "peak_mib": peak_mib(), "loaded_mib": before}))


def peak_mib():
    """Return the peak of this process since it began; getrusage would count what its parent held at the fork."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def cpu_seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


if __name__ == "__main__":
    main(*sys.argv[1:])
