"""Media files made to harm whoever decodes them: bombs, lies, loops, fragments and disguises.

`files()` makes them, the same at every call, in seconds. `judge(files, seconds)` gives each to the decoders that
embed and transcribe use, and measures what that cost; `python tests/support/hostile_media.py` prints it.
"""

import gzip
import io
import json
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
MIB = 1 << 20


@dataclass(frozen=True)
class Hostile:
    """One file, and the kind of medium that extract would take it for."""

    name: str
    kind: Literal["image", "audio", "video"]
    payload: bytes


@dataclass
class Verdict:
    """What became of the files: the reject's reason by name (None: it was taken for a medium), and what it cost."""

    reasons: dict[str, str | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: float = 0.0  # of all processes together, above what they held before the first file


@cache
def files() -> tuple[Hostile, ...]:
    """Return all files; none is above 50 MB."""
    kinds: dict[Literal["image", "audio", "video"], Mapping[str, bytes]] = {
        "image": _pngs() | _gifs() | _jpegs() | _tiffs() | _other_images(),
        "audio": _waves() | _containers() | _disguises(),
        "video": _films(),
    }
    return tuple(Hostile(name, kind, payload) for kind, made in kinds.items() for name, payload in made.items())


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 0, data: bytes | None = None) -> bytes:
    """Return a PNG whose header says what it is told to; its pixels are black where they are not given."""
    if data is None:
        data = zlib.compress(bytes((1 + (width * depth + 7) // 8) * height))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG + header + b"".join(chunks) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _pngs() -> dict[str, bytes]:
    zeros = zlib.compress(bytes(100 * MIB), 9)
    text = zlib.compress(bytes(MIB - 10), 9)
    whole = _png(64, 64)
    return {
        "60000² pixels that are not there.png": _png(60_000, 60_000, data=b""),
        "20000² pixels in 50 KB.png": _png(20_000, 20_000, depth=1),
        "100 MB of compressed text.png": _png(8, 8, _chunk(b"zTXt", b"Comment\0\0" + zeros)),
        "70 texts of 1 MB.png": _png(8, 8, *[_chunk(b"zTXt", b"k%d\0\0" % i + text) for i in range(70)]),
        "100 MB of compressed colour profile.png": _png(8, 8, _chunk(b"iCCP", b"icc\0\0" + zeros), data=b"\0"),
        "2³¹ frames.apng": _png(8, 8, _chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        "truncated.png": whole[: len(whole) // 2],
        "wrong checksum.png": whole.replace(b"IDAT", b"IDAT\xff", 1),
        "fewer rows than it says.png": _png(500, 500, data=zlib.compress(bytes(300))),
        "stream that ends in nonsense.png": _png(500, 500, data=zlib.compress(bytes(250_500))[:60] + b"\xff" * 300),
    }


def _gifs() -> dict[str, bytes]:
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    wide = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6)
    offset = b"\x2c" + struct.pack("<HHHHB", 65_000, 65_000, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\x00"
    return {
        "a million frames.gif": screen + frame * 1_000_000 + b";",
        "65535² pixels.gif": wide + frame + b";",
        "a frame outside its screen.gif": screen + offset + b";",
        "cut in its first frame.gif": screen + frame[:11],
        "a script.gif": b"GIF89a/*" + b" " * 40 + b"*/=alert(1)//;",
    }


def _jpegs() -> dict[str, bytes]:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    whole = buffer.getvalue()
    size = whole.index(b"\xff\xc0") + 5
    app = b"\xff\xe1\xff\xff" + b"Exif\0\0" + b"\x45" * (65_533 - 6)
    return {
        "65500² pixels.jpg": whole[:size] + struct.pack(">HH", 65_500, 65_500) + whole[size + 4 :],
        "truncated.jpg": whole[: len(whole) // 2],
        "26 MB of Exif and no picture.jpg": whole[:2] + app * 400,
        "30000 scans.jpg": _many_scans(30_000),
    }


def _many_scans(number: int) -> bytes:
    """Return a progressive JPEG of 35 million pixels that refines the same coefficient again and again."""
    side, segment = 5_936, lambda kind, data: b"\xff" + bytes([kind]) + struct.pack(">H", len(data) + 2) + data
    table = segment(0xDB, b"\0" + b"\x01" * 64)
    frame = segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00")
    huffman = segment(0xC4, b"\x10" + b"\x01" + bytes(15) + b"\xe0")  # AC: one code, "no more in 16384 blocks and over"
    scan = segment(0xDA, b"\x01\x01\x00" + bytes([1, 63, 0x00]))
    blocks = (side // 8) ** 2
    bits = "".join("0" + "0" * 14 for _ in range(-(-blocks // 16_384)))
    coded = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    return b"\xff\xd8" + table + frame + huffman + (scan + coded.replace(b"\xff", b"\xff\0")) * number + b"\xff\xd9"


def _tiff(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """Return one directory of (tag, type, count, value) entries and the offset of the next."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def _tiffs() -> dict[str, bytes]:
    start = b"II*\0" + struct.pack("<I", 8)
    grey = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0),
            (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    size = 2 + 12 * len(grey) + 4
    pages = b"".join(_tiff(grey, 8 + size * (page + 1)) for page in range(100_000))
    wide = [(256, 4, 1, 65_535), (257, 4, 1, 65_535), *grey[2:]]
    greedy = [*grey[:5], (273, 4, 2**31 - 1, 8), *grey[6:8], (279, 4, 2**31 - 1, 8)]
    return {
        "a directory that follows itself.tif": start + _tiff([(256, 4, 1, 9)], 8),
        "100000 pages.tif": start + pages,
        "65535² pixels.tif": start + _tiff(wide, 0),
        "2³¹ strips.tif": start + _tiff(greedy, 0),
        "a strip far behind its end.tif": start + _tiff([*grey[:5], (273, 4, 1, 2**31), *grey[6:]], 0),
    }


def _webp(canvas: tuple[int, int], frames: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "WEBP", lossless=True)
    picture = buffer.getvalue()[12:]
    place = bytes(6) + bytes(6) + b"\x64\0\0\0"  # x, y, width − 1, height − 1, duration, flags
    frame = b"ANMF" + struct.pack("<I", len(place) + len(picture)) + place + picture
    size = b"".join(struct.pack("<I", side - 1)[:3] for side in canvas)
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * frames
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _other_images() -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "AVIF")
    avif = buffer.getvalue()
    at = avif.index(b"ispe") + 8
    svg = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(8)
    )
    far = struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**31 - 1, 1, 24, *[0] * 6)
    runs = struct.pack("<IiiHHIIiiII", 40, 8_000, 4_000, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(1024) + b"\0\2\0\0" * 9
    return {
        "16383² pixels.webp": _webp((16_383, 16_383), 1),
        "5000 frames.webp": _webp((1, 1), 5_000),
        "truncated.webp": _webp((1, 1), 1)[:50],
        "truncated.avif": avif[: len(avif) // 2],
        "65535² pixels.avif": avif[:at] + struct.pack(">II", 65_535, 65_535) + avif[at + 8 :],
        "2³¹ × 2³¹ pixels.bmp": b"BM" + struct.pack("<IHHI", 60, 0, 0, 54) + far,
        "run lengths that never end.bmp": b"BM" + struct.pack("<IHHI", 60, 0, 0, 1078) + runs,
        "a billion laughs.svg": svg + b']><svg xmlns="http://www.w3.org/2000/svg"><text>&i;</text></svg>',
        "packed.svgz": gzip.compress(b"<svg>" + b" " * 30 * MIB + b"</svg>"),
        "a program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{}loop\n",
        "a document.jpg": b"%PDF-1.4\n" + b"\xff\xd8\xff\xe0",
        "nothing.png": b"",
    }


# ── sound ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _riff(rate: int, channels: int, bits: int, data: bytes, says: int | None = None, code: int = 1) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    length = len(data) if says is None else says
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length) + data
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF if says else len(body)) + body


def _waves() -> dict[str, bytes]:
    return {
        "4 GB that are not there.wav": _riff(16_000, 1, 16, b"", 0xFFFFFFFF),
        "a day at 1 Hz.wav": _riff(1, 1, 8, bytes(86_400)),
        "65535 channels.wav": _riff(16_000, 65_535, 16, bytes(200_000)),
        "4 GHz.wav": _riff(0xFFFFFFFF, 1, 16, bytes(100)),
        "a codec of no one.wav": _riff(16_000, 1, 16, bytes(1_000), code=0x7A7A),
        "cut in its header.wav": _riff(16_000, 1, 16, b"")[:30],
    }


def _page(number: int, data: bytes) -> bytes:
    """Return an Ogg page with a right checksum."""
    sizes = [255] * (len(data) // 255) + [len(data) % 255]
    head = b"OggS" + struct.pack("<BBqIII", 0, 2 if number == 0 else 0, 0, 7, number, 0)
    page = bytearray(head + bytes([len(sizes)]) + bytes(sizes) + data)
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    page[22:26] = struct.pack("<I", crc)
    return bytes(page)


def _containers() -> dict[str, bytes]:
    opus = b"OpusHead" + struct.pack("<BBHIHB", 1, 255, 0, 48_000, 0, 1) + bytes([255, 255]) + bytes(255)
    samples = 44_100 << 44 | 1 << 41 | 15 << 36 | 2**36 - 1
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + samples.to_bytes(8, "big")
    boxes = b""
    for _ in range(5_000):
        boxes = struct.pack(">I4s", len(boxes) + 8, b"moov") + boxes
    ftyp = struct.pack(">I4s4sI", 16, b"ftyp", b"M4A ", 0)
    common = b"COMM\0\0\0\x12\0\1\xff\xff\xff\xff\0\x10\x7f\xff" + b"\xff" * 8
    tag = b"ID3\x04\0\0" + bytes([0x7F] * 4)
    return {
        "a page that repeats for ever.ogg": _page(0, opus) * 20_000,
        "pages of nothing.ogg": b"OggS" + bytes(24 * MIB),
        "2³⁶ samples in no frame.flac": b"fLaC\x80\0\0\x22" + info + bytes(16),
        "blocks without an end.flac": b"fLaC" + b"\x01\0\0\0" * 2_000_000,
        "5000 boxes in boxes.m4a": ftyp + boxes,
        "a box of 2⁶³ bytes.m4a": ftyp + struct.pack(">I4sQ", 1, b"moov", 2**63),
        "a box that contains itself.m4a": ftyp + struct.pack(">I4s", 0, b"moov") * 4_000,
        "256 MB of tags.mp3": tag + bytes(1_000),
        "tags without an end.mp3": (b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)) * 500_000,
        "frames of no sound.mp3": b"\xff\xfb\x90\x00" * 4,
        "a rate that is no number.aiff": b"FORM\0\0\0\x2eAIFF" + common + b"SSND\0\0\0\x08" + bytes(8),
        "an encoding of no one.au": b".snd" + struct.pack(">IIIII", 24, 0xFFFFFFFF, 999, 8_000, 1) + bytes(900),
    }


def _disguises() -> dict[str, bytes]:
    """Files that would make FFmpeg open other files and addresses."""
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    return {
        "a playlist.wav": playlist,
        "a playlist in a tag.mp3": b"ID3\x04\0\0\0\0\0\0" + playlist * 20,
        "a list of files.wav": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "a session description.wav": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\n",
        "a stream's manifest.wav": b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>",
    }


# ── films ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _element(name: int, data: bytes, says: int | None = None) -> bytes:
    """Return an EBML element, its length in eight bytes."""
    length = (len(data) if says is None else says) | 1 << 56
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + length.to_bytes(8, "big") + data


def _films() -> dict[str, bytes]:
    head = _element(0x1A45DFA3, _element(0x4282, b"matroska"))
    duration = _element(0x1549A966, _element(0x2AD7B1, b"\x0f\x42\x40") + _element(0x4489, struct.pack(">d", 1e15)))
    video = _element(0xE0, _element(0xB0, b"\xff\xff") + _element(0xBA, b"\xff\xff"))
    track = _element(0xAE, b"".join([_element(0xD7, b"\1"), _element(0x83, b"\1"), _element(0x86, b"V_VP8"), video]))
    tracks = _element(0x1654AE6B, track)
    deep = b""
    for _ in range(3_000):
        deep = _element(0xAE, deep)
    ftyp = struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    lists = struct.pack("<4sI4s", b"LIST", 0xFFFFFFF0, b"hdrl") * 100_000
    return {
        "30 years in no cluster.mkv": head + _element(0x18538067, duration + tracks),
        "a segment of 2⁵⁶ bytes.mkv": head + _element(0x18538067, tracks, 2**56 - 2),
        "3000 tracks in tracks.mkv": head + _element(0x18538067, _element(0x1654AE6B, deep)),
        "a header and no more.webm": _element(0x1A45DFA3, _element(0x4282, b"webm")),
        "no track.mp4": ftyp + struct.pack(">I4s", 8, b"moov") + struct.pack(">I4s", 8 + MIB, b"mdat") + bytes(MIB),
        "lists in lists.avi": b"RIFF\xff\xff\xff\xffAVI " + lists,
    }


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def judge(given: tuple[Hostile, ...], seconds: float = 30.0) -> Verdict:
    """Give each file to the product's decoder, one child a kind, killed after `seconds`; then a good one, which passes.

    Raises AssertionError where a good file between the hostile ones is lost.
    """
    from multimodal.audio import AudioDecoder
    from multimodal.decode import Reject
    from multimodal.geometry import Geometry
    from multimodal.looking import Wanted, look
    from multimodal.sandbox import Sandbox

    wanted = Wanted(Geometry(224, 224), max_pixels=40_000_000, max_frames=1_000, film_frames=8, thumbnail_side=256)
    pictures, sounds = Sandbox(look, 1, seconds), AudioDecoder(1, 3600, seconds)
    good_picture, good_sound = _png(40, 30), _riff(16_000, 1, 16, bytes(32_000))
    assert not isinstance(
        pictures(good_picture, "image", wanted, False), Reject
    )  # the children are there before the clock is
    assert not isinstance(sounds(good_sound), Reject)
    verdict = Verdict()
    with _measured(verdict):
        for file in given:
            started = time.monotonic()
            results: list[object] = []
            if file.kind != "audio":
                results.append(pictures(file.payload, file.kind, wanted, True))
            if file.kind != "image":
                results.append(sounds(file.payload))
            verdict.seconds[file.name] = time.monotonic() - started
            rejects = [result.reason.value for result in results if isinstance(result, Reject)]
            verdict.reasons[file.name] = " and ".join(rejects) if len(rejects) == len(results) else None
            assert not isinstance(pictures(good_picture, "image", wanted, False), Reject), f"lost after {file.name}"
            assert not isinstance(sounds(good_sound), Reject), f"lost after {file.name}"
    return verdict


@contextmanager
def _measured(verdict: Verdict) -> Iterator[None]:
    """Watch the memory of this process and its children, fifty times a second."""
    done = threading.Event()
    before = _resident()

    def watch() -> None:
        while not done.wait(0.02):
            verdict.peak_mib = max(verdict.peak_mib, _resident() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _resident() -> float:
    """Return the MiB of memory that this process and its children hold."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        children = (task / "children").read_text().split() if (task / "children").exists() else []
        for pid in children:
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    total += int(Path("/proc/self/statm").read_text().split()[1])
    return total * os.sysconf("SC_PAGE_SIZE") / MIB


def main() -> int:
    """Judge all files, each within the seconds that the first argument gives, and print one JSON document."""
    made = files()
    verdict = judge(made, float(sys.argv[1]) if sys.argv[1:] else 30.0)
    told = {
        "files": len(made),
        "rejected": sum(reason is not None for reason in verdict.reasons.values()),
        "longest_seconds": round(max(verdict.seconds.values()), 1),
        "peak_mib": round(verdict.peak_mib),
        "reasons": verdict.reasons,
    }
    print(json.dumps(told, indent=1, ensure_ascii=False))
    return 0 if told["rejected"] == told["files"] else 1


if __name__ == "__main__":
    sys.exit(main())
