"""Run every benchmark whose data is there: `python -m benchmarks [--data DIR] [NAME …]`.

Each runs as a process of its own; its figures, its peak memory and this machine go to
benchmarks/results/<date>-<name>.json. What lacks its data is named as skipped.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
REPO = FOLDER.parent
# name → the file below the data folder that it needs (None: it makes its own), and further arguments
BENCHMARKS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "annotate_relations": ("relations/dev.jsonl", ()),
    "annotate_speed": ("pages/ground-truth.json", ("--rounds", "3")),
    "chinese_entities": ("README.md", ()),
    "minhash": ("README.md", ()),
    "extraction": ("README.md", ()),
    "anchors": ("README.md", ()),
    "images": ("site/index.html", ()),
    "crawl": (None, ()),
    "embed": ("site/index.html", ()),
    "tags": ("captions/manifest.jsonl", ()),
    "publish": (None, ()),
    "scale": (None, ()),
    "warc_read": ("site/index.html", ()),
    "transcribe": ("speech/manifest.jsonl", ()),
    "vectors": (None, ()),
    "semantic": ("README.md", ()),
    "image_dups": ("site/index.html", ()),
    "audio_dups": ("speech/manifest.jsonl", ()),
}
LIBRARIES = ("headrace", "pyarrow", "pyiceberg", "spacy", "torch")


def main(arguments: Sequence[str]) -> int:
    """Run them in turn; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all otherwise")
    parser.add_argument("--data", type=Path, default=REPO.parent / "shared" / "data", help="labelled texts and pages")
    parser.add_argument("--results", type=Path, default=FOLDER / "results", help="where the JSON files go")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - BENCHMARKS.keys()):
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    failed = []
    for name in given.names or BENCHMARKS:
        file, extra = BENCHMARKS[name]
        if file and not (given.data / file).is_file():
            print(f"{name}: SKIPPED, {given.data / file} is not there; --data names another folder", flush=True)
        elif not run(name, [*([str(given.data / file)] if file else []), *extra], given.results):
            failed.append(name)
    return 1 if failed else 0


def run(name: str, arguments: Sequence[str], results: Path) -> bool:
    """Run one benchmark, print its figures and write its result file; return False if it failed."""
    started = time.monotonic()
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json"]
    child = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE)
    assert child.stdout
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)  # subprocess tells the memory of no single child
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        print(f"{name}: FAILED with exit code {child.returncode}", flush=True)
        return False
    found = {
        "benchmark": name,
        "arguments": [Path(item).name for item in arguments],  # without this machine's folders
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "result": json.loads(output),
        "machine": describe_machine(),
    }
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{found['time'][:10]}-{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {found['seconds']} s, peak {found['peak_mib']} MiB → {path}")
    for key, value in flatten(found["result"]).items():
        print(f"  {key:45s} {value:.4g}" if isinstance(value, float) else f"  {key:45s} {value}", flush=True)
    return True


def flatten(result: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested figures under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in result.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def describe_machine() -> dict[str, Any]:
    """Describe the hardware and the versions that the figures were taken with."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpus": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
