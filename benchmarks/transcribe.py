"""Transcribe the same recordings with headrace and with the bare recognisers, each in a process of its own.

`python -m benchmarks.transcribe MANIFEST [--short N] [--long N] [--threads N] [--json]`; MANIFEST names speech with its
words (JSONL). Every second of them is held out: nothing was tuned by it. The short recordings are those; the long ones,
of over a minute, are the short ones of one half in turn with a second and a half between. Sound is decoded by all, and
models are loaded and have heard two recordings before the clock starts; the model is tiny.en. headrace is its worker
but for the archive: decoding in children, voice detection, words with times and masking, which the others leave out.
Each child also tells its peak memory. Word error rates are over Whisper's English normaliser. `speedup` is over
sequential whisper.transcribe as it is by default, by wall and CPU.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.models import Weights, resolve
from multimodal.audio import SAMPLE_RATE, AudioDecoder, decode_audio
from multimodal.recordings import Origin, Result, transcribe_rows
from multimodal.settings import TranscribeSettings

REPO = Path(__file__).parent.parent
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))  # of each, set for the children by --threads
PAUSE = np.zeros(int(1.5 * SAMPLE_RATE), np.float32)
LONG_SECONDS = 75.0
PEER = "whisper.transcribe"
HALVES = ("dev", "held_out")
Recording = tuple[bytes, str]  # a WAV file, what is said in it
Run = Callable[[Sequence[bytes]], list[str]]


def read_short(manifest: Path) -> list[Recording]:
    """Return the recordings that the manifest names."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [((manifest.parent / row["audio"]).read_bytes(), row["transcript"]) for row in rows]


def make_long(short: Sequence[Recording], num: int) -> list[Recording]:
    """Return recordings of over LONG_SECONDS made of short ones, none of them in two."""
    left, made = iter(short), []
    for _ in range(num):
        pieces: list[NDArray[np.float32]] = []
        words: list[str] = []
        while sum(map(len, pieces)) < LONG_SECONDS * SAMPLE_RATE and (item := next(left, None)):
            pieces += [_samples(item[0]), PAUSE]
            words.append(item[1])
        made.append((_wav(np.concatenate(pieces)), " ".join(words)))
    return made


def _samples(payload: bytes) -> NDArray[np.float32]:
    samples = decode_audio(payload)
    assert isinstance(samples, np.ndarray)
    return samples


def _wav(samples: NDArray[np.float32]) -> bytes:
    data = (samples * 32767).astype("<i2").tobytes()
    numbers = (
        (1).to_bytes(2, "little") * 2 + SAMPLE_RATE.to_bytes(4, "little") + (2 * SAMPLE_RATE).to_bytes(4, "little")
    )
    body = b"WAVEfmt " + (16).to_bytes(4, "little") + numbers + b"\2\0\x10\0data" + len(data).to_bytes(4, "little")
    return b"RIFF" + (len(body) + len(data)).to_bytes(4, "little") + body + data


def load_headrace(backend: str, weights: Weights) -> Run:
    """Return headrace's worker, without the archive."""
    from multimodal.speech import load_transcriber  # not above: children that decode import this module too

    settings = TranscribeSettings.parse({"backend": backend}, "benchmark")
    transcriber = load_transcriber(weights, settings, "cpu", THREADS)
    decode = AudioDecoder(THREADS, settings.max_seconds, settings.decode_seconds)
    origin = Origin(backend, weights.name, weights.revision)

    def run(payloads: Sequence[bytes]) -> list[str]:
        media = [{"media_id": str(number), "payload": payload} for number, payload in enumerate(payloads)]
        results = transcribe_rows(media, transcriber, origin, lambda row: decode(row["payload"]), ("email", "phone"))
        return [item.transcript["text"] for item in results if isinstance(item, Result)]

    return run


def load_whisper(weights: Weights) -> Run:
    """Return openai-whisper's own `transcribe`, one recording after another."""
    import torch
    import whisper

    from multimodal.speech import checkpoint

    network = whisper.load_model(str(checkpoint(weights)))
    torch.set_num_threads(THREADS)
    return lambda payloads: [
        network.transcribe(_samples(payload), language="en", fp16=False)["text"] for payload in payloads
    ]


def load_faster(weights: Weights, batched: bool) -> Run:
    """Return faster-whisper's own `transcribe`, greedy, one recording after another."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    network = WhisperModel(str(weights.path), "cpu", compute_type="int8", cpu_threads=THREADS)
    transcribe = BatchedInferencePipeline(network).transcribe if batched else network.transcribe
    return lambda payloads: [
        " ".join(item.text for item in transcribe(_samples(payload), language="en", beam_size=1)[0])
        for payload in payloads
    ]


LOADERS: dict[str, Callable[[Weights], Run]] = {
    PEER: load_whisper,
    "headrace, whisper": partial(load_headrace, "whisper"),
    "faster-whisper": partial(load_faster, batched=False),
    "faster-whisper, batched": partial(load_faster, batched=True),
    "headrace, faster-whisper": partial(load_headrace, "faster-whisper"),
}


def measure(name: str, manifest: Path, num_short: int, long: int) -> dict[str, Any]:
    """Run one of LOADERS on both kinds of recordings, of both halves."""
    short = read_short(manifest)[:num_short]
    halves = {half: short[at::2] for at, half in enumerate(HALVES)}
    run = LOADERS[name](resolve("whisper", "tiny.en"))
    run([payload for payload, _ in islice(short, 2)])
    long_halves = {half: make_long(recordings, long) for half, recordings in halves.items()}
    found: dict[str, Any] = {kind: _measure(run, items) for kind, items in (("short", halves), ("long", long_halves))}
    found["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def _measure(run: Run, halves: Mapping[str, Sequence[Recording]]) -> dict[str, Any]:
    recordings = [item for half in halves.values() for item in half]
    wall, cpu = time.perf_counter(), _cpu_seconds()
    texts = run([payload for payload, _ in recordings])
    seconds, spent, audio = time.perf_counter() - wall, _cpu_seconds() - cpu, _seconds(recordings)
    words = [said for _, said in recordings]
    found = {
        "recordings": len(recordings),
        "words": sum(len(said.split()) for said in words),
        "audio_seconds": round(audio, 1),
        "wall_seconds": round(seconds, 2),
        "cpu_seconds": round(spent, 2),
        "times_real_time": round(audio / seconds, 1),
        "word_error_rate": round(error_rate(words, texts), 4),
    }
    heard = iter(texts)
    for half, items in halves.items():
        rate = error_rate([said for _, said in items], list(islice(heard, len(items))))
        found[f"word_error_rate_{half}"] = round(rate, 4)
    return found


def _seconds(recordings: Sequence[Recording]) -> float:
    return sum(len(_samples(payload)) for payload, _ in recordings) / SAMPLE_RATE


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children."""
    import psutil

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(item.cpu_times().user + item.cpu_times().system for item in processes))


def error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Return the word error rate over Whisper's English normaliser."""
    import jiwer
    from whisper.normalizers import EnglishTextNormalizer

    normalise = EnglishTextNormalizer()
    return float(jiwer.wer([normalise(text) for text in references], [normalise(text) for text in texts]))


def compare(manifest: Path, short: int, long: int, threads: int) -> dict[str, Any]:
    """Measure all of LOADERS whose library is here, and headrace against the others."""
    names = [name for name in LOADERS if "faster" not in name or find_spec("faster_whisper")]
    found: dict[str, Any] = {}
    for name in names:
        counts = ["--short", str(short), "--long", str(long)]
        command = [sys.executable, "-m", "benchmarks.transcribe", str(manifest), "--only", name, *counts]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, check=True)
        found[name] = json.loads(done.stdout)
    for name in (name for name in names if name.startswith("headrace")):
        for kind in ("short", "long"):
            ours, peer = found[name][kind], found[PEER][kind]
            ours["speedup"] = round(peer["wall_seconds"] / ours["wall_seconds"], 2)
            ours["cpu_speedup"] = round(peer["cpu_seconds"] / ours["cpu_seconds"], 2)
            bare = found["faster-whisper" if "faster" in name else PEER][kind]
            for rate in ("", *(f"_{half}" for half in HALVES)):
                above = ours[f"word_error_rate{rate}"] - bare[f"word_error_rate{rate}"]
                ours[f"points_above_bare{rate}"] = round(100 * above, 2)
    return found


def main(arguments: Sequence[str]) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--short", type=int, default=1000, help="no more short recordings than these")
    parser.add_argument("--long", type=int, default=2, help="how many recordings of over a minute, of each half")
    parser.add_argument("--threads", type=int, default=2, help="of each recogniser")
    parser.add_argument("--only", choices=LOADERS, help="measure this one, here")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.parse_args(arguments)
    if given.only:
        found = measure(given.only, given.manifest, given.short, given.long)
    else:
        found = compare(given.manifest, given.short, given.long, given.threads)
    print(json.dumps(found, indent=None if given.json else 1))


if __name__ == "__main__":
    main(sys.argv[1:])
