"""img2dataset's side of the image benchmark, run by the peers' interpreter: download once and print the figures."""

import json
import logging
import resource
import sys
import time
from pathlib import Path

from img2dataset import download


def main() -> None:
    """Download the URLs without decoding or re-encoding, as fast as it can."""
    given = json.loads(sys.argv[1])
    folder = Path(given["folder"])
    (folder / "urls.txt").write_text("\n".join(given["urls"]))
    logging.disable(logging.INFO)
    before, started = cpu(), time.monotonic()
    download(
        url_list=str(folder / "urls.txt"), output_folder=str(folder / "out"), output_format="webdataset",
        disable_all_reencoding=True, processes_count=given["processes"], thread_count=given["threads"],
        number_sample_per_shard=500,
    )  # fmt: skip
    seconds = time.monotonic() - started
    stats = [json.loads(path.read_text()) for path in (folder / "out").glob("*_stats.json")]
    used = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found = {"images": sum(stat["successes"] for stat in stats), "seconds": seconds, "cpu": cpu() - before}
    print(json.dumps(found | {"peak_mib": used[0] + used[1] * given["processes"]}), file=sys.__stdout__)


def cpu() -> float:
    """Return the CPU seconds of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
