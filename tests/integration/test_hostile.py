"""A crawl of forty hosts that each break HTTP in their own way, and of one that does not, in a process of its own."""

import gzip
import itertools
import json
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import brotli
import pytest
from backports import zstd
from website import Crawler

MAX_BYTES = 20_000_000
SECONDS = 100.0  # for all of them, on a slow machine; the timeouts below add up to a third of it
MEGABYTES = 512
HEALTHY = 40  # pages of the host that behaves

# The peak that the system tells of a child that has ended counts its parent's memory at the fork.
COMMAND = """
import atexit, sys
from pathlib import Path
from catalog import cli
peak = Path(sys.argv.pop())
atexit.register(lambda: peak.write_text(Path("/proc/self/status").read_text()))
cli.main()
"""

Fault = Callable[[socket.socket], None]


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None) -> Fault:
    """Return a handler that sends one response; `length` is what Content-Length says instead of the truth."""
    given = [f"Content-Length: {len(body) if length is None else length}", *headers]
    if not any(header.startswith("Content-Type") for header in headers):
        given.append("Content-Type: text/html")
    head = "\r\n".join([f"HTTP/1.1 {status}", *given]).encode("latin-1")
    return raw(head + b"\r\n\r\n" + body)


def raw(data: bytes) -> Fault:
    return lambda connection: connection.sendall(data)


def packed(data: bytes, *encodings: str) -> Fault:
    return answer(data, f"Content-Encoding: {', '.join(encodings)}")


def drip(head: bytes, pieces: Iterator[bytes], pause: float) -> Fault:
    """Return a handler that sends pieces at intervals until the client has enough."""

    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)

    return send


def silence(head: bytes = b"") -> Fault:
    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        time.sleep(30)

    return send


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_within(connection: socket.socket) -> None:
    connection.sendall(PAGE + b"Content-Length: 1000\r\n\r\nonly this")
    time.sleep(0.2)
    reset(connection)


def gzip_zeros(num_bytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = b"\0" * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(num_bytes >> 20)) + packer.flush()


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
ZEROS = b"\0" * (64 << 20)
BOMB = gzip_zeros(1 << 30)
TEXT = b"<p>" + b"The wheel turns. " * 200
FOREVER = itertools.repeat

# name → what the host does, and how the visit must end: a reason, or ok
FAULTS: dict[str, tuple[Fault, str]] = {
    "reset": (reset, "bad_response"),
    "reset_within_the_body": (reset_within, "bad_response"),
    "no_answer": (raw(b""), "bad_response"),
    "silence": (silence(), "timeout"),
    "half_headers": (silence(PAGE), "timeout"),
    "dripping_headers": (drip(PAGE + b"X-Long: ", FOREVER(b"x"), 0.2), "timeout"),
    "silent_body": (silence(PAGE + b"Content-Length: 100\r\n\r\n<p>"), "timeout"),
    "a_byte_a_moment": (drip(PAGE + b"Content-Length: 5000\r\n\r\n", FOREVER(b"x"), 0.2), "timeout"),
    "endless_body": (drip(PAGE + b"\r\n", FOREVER(b"y" * 65536), 0), "too_large"),
    "endless_chunks": (
        drip(PAGE + b"Transfer-Encoding: chunked\r\n\r\n", FOREVER(b"10000\r\n" + b"z" * 65536 + b"\r\n"), 0),
        "too_large",
    ),
    "length_of_ten_terabytes": (answer(b"x", length=10**13), "too_large"),
    "length_too_long": (answer(TEXT, length=10_000), "bad_response"),
    "length_too_short": (answer(TEXT, length=1000), "bad_response"),
    "length_no_number": (raw(PAGE + b"Content-Length: lots\r\n\r\nx"), "bad_response"),
    "length_twice": (raw(PAGE + b"Content-Length: 5\r\nContent-Length: 9\r\n\r\n123456789"), "bad_response"),
    "bad_chunk": (raw(PAGE + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"), "bad_response"),
    "huge_chunk": (raw(PAGE + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n"), "bad_response"),
    "chunks_cut_off": (raw(PAGE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"), "bad_response"),
    "redirect_to_itself": (answer(b"", "Location: /", status="302 Found"), "redirect_loop"),
    "redirect_to_a_file": (answer(b"", "Location: file:///etc/passwd", status="301 Moved"), "bad_response"),
    "redirect_nowhere": (answer(b"", status="302 Found"), "bad_response"),
    "retry_in_ten_years": (answer(b"", "Retry-After: 315360000", status="429 Slow down"), "client_error"),
    "retry_in_the_year_99999": (
        answer(b"", "Retry-After: Fri, 31 Dec 99999 23:59:59 GMT", status="503 Busy"),
        "server_error",
    ),
    "no_gzip": (packed(TEXT, "gzip"), "bad_response"),
    "gzip_cut_off": (packed(gzip.compress(TEXT)[:-9], "gzip"), "bad_response"),
    "gzip_bomb": (packed(BOMB, "gzip"), "too_large"),
    "bomb_in_a_bomb": (packed(gzip.compress(BOMB), "gzip", "gzip"), "too_large"),
    "brotli_bomb": (packed(brotli.compress(ZEROS, quality=5), "br"), "too_large"),
    "zstd_bomb": (packed(zstd.compress(ZEROS), "zstd"), "too_large"),
    "twelve_encodings": (packed(TEXT, *["gzip"] * 12), "bad_response"),
    "unknown_encoding": (packed(TEXT, "compress"), "bad_response"),
    "no_charset": (answer(TEXT + b"\xff\xfe", "Content-Type: text/html; charset=hex"), "ok"),
    "cookies": (answer(TEXT, *[f"Set-Cookie: c{number}={'v' * 100}" for number in range(60)]), "ok"),
    "thousands_of_headers": (answer(TEXT, *[f"X-{number}: y" for number in range(5000)]), "bad_response"),
    "endless_headers": (drip(PAGE, FOREVER(b"X-More: " + b"y" * 4000 + b"\r\n"), 0), "bad_response"),
    "a_megabyte_of_header": (answer(TEXT, "X-Long: " + "y" * (1 << 20)), "bad_response"),
    "a_megabyte_of_status": (answer(TEXT, status="200 " + "O" * (1 << 20)), "bad_response"),
    "status_of_five_digits": (answer(TEXT, status="20000 OK"), "bad_response"),
    "endless_100_continue": (drip(b"", FOREVER(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), 0.01), "timeout"),
    "nul_in_header": (raw(PAGE + b"X-Nul: a\0b\r\n\r\n<p>x"), "bad_response"),
    "http_0_9": (raw(b"<html><p>This is how it was in 1991."), "bad_response"),
    "ssh": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "bad_response"),
    "no_content": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "bad_response"),
    "partial_content": (answer(TEXT, status="206 Partial Content"), "bad_response"),
    "not_modified": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "bad_response"),
    "a_program": (answer(b"\x7fELF", "Content-Type: application/x-executable"), "wrong_type"),
    "nested_for_hours": (answer(b"<div>" * 400_000), "extractor_failed"),
    "forty_thousand_links": (answer(b"".join(b'<a href="/%d">x</a>' % k for k in range(40_000))), "ok"),
}
TLS = ("tls_garbage", "tls_alert")  # asked by https


class Hosts:
    """One port of 127.0.0.0/8; each fault has an address of its own, so that none is judged by another's deeds."""

    def __init__(self) -> None:
        self.names = dict(enumerate([*FAULTS, *TLS], 10))
        self.cookies: list[str] = []
        self._listening = socket.create_server(("0.0.0.0", 0), backlog=200)
        self.port: int = self._listening.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def url(self, name: str) -> str:
        number = next(number for number, known in self.names.items() if known == name)
        return f"http{'s' if name in TLS else ''}://127.0.0.{number}:{self.port}/"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        number = int(connection.getsockname()[0].rsplit(".", 1)[1])
        with connection:
            connection.settimeout(30)
            with suppress(OSError):  # the client has had enough
                self._handle(connection, self.names.get(number))

    def _handle(self, connection: socket.socket, name: str | None) -> None:
        asked = connection.recv(65536)
        if name in TLS:
            connection.sendall(
                b"\x15\x03\x01\x00\x02\x02\x28" if name == "tls_alert" else b"HTTP/1.1 400 No TLS\r\n\r\n"
            )
            return
        self.cookies += [line for line in asked.decode("latin-1").split("\r\n") if line.lower().startswith("cookie")]
        path = asked.split(b" ")[1] if asked.count(b" ") > 1 else b"/"
        if path == b"/robots.txt":
            answer(b"none", "Connection: close", status="404 Not Found")(connection)
        elif name is not None and path == b"/":
            FAULTS[name][0](connection)
        elif name is not None:
            answer(b"none", "Connection: close", status="404 Not Found")(connection)
        else:
            links = b"".join(b'<a href="/page%d">next</a>' % number for number in range(1, HEALTHY))
            answer(b"<p>All is well here.</p>" + links, "Connection: close")(connection)

    def close(self) -> None:
        self._listening.close()


@contextmanager
def serving() -> Iterator[Hosts]:
    hosts = Hosts()
    try:
        yield hosts
    finally:
        hosts.close()


def crawl(folder: Path, config: Mapping[str, object]) -> tuple[int, float]:
    """Run the command; return its peak memory in MB and the seconds it took."""
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    started = time.monotonic()
    command = [sys.executable, "-c", COMMAND, "crawl", str(path), str(folder / "peak")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = dict(line.split(":", 1) for line in (folder / "peak").read_text().splitlines())
    return int(facts["VmHWM"].split()[0]) // 1024, time.monotonic() - started


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hosts, Crawler, int, float]]:
    folder = tmp_path_factory.mktemp("hostile")
    with serving() as hosts:
        crawler = Crawler(
            folder / "home",
            {
                "allow_private_hosts": ["127.0.0.0/8"], "timeout": 3, "read_timeout": 2, "max_bytes": MAX_BYTES,
                "retries": 1, "max_parse_seconds": 2, "max_memory": "60MB",
            },
        )  # fmt: skip
        sources: list[object] = [{"url": hosts.url(name), "kind": "page"} for name in hosts.names.values()]
        sources += [f"http://127.0.0.1:{hosts.port}/"]
        megabytes, seconds = crawl(folder, crawler.config(*sources).given)
        yield hosts, crawler, megabytes, seconds


def test_every_fault_ends_in_its_named_state(crawled: tuple[Hosts, Crawler, int, float]) -> None:
    hosts, crawler, _, _ = crawled
    expected = {name: reason for name, (_, reason) in FAULTS.items()} | dict.fromkeys(TLS, "unreachable")
    rejects, pages = crawler.rejects(), crawler.pages()
    found = {
        name: "ok" if hosts.url(name) in pages else rejects.get(hosts.url(name), ("nothing", ""))[0]
        for name in expected
    }
    assert found == expected, {url: detail for url, (_, detail) in rejects.items()}


def test_the_others_proceed_within_time_and_memory(
    crawled: tuple[Hosts, Crawler, int, float], record_property: Callable[[str, object], None]
) -> None:
    hosts, crawler, megabytes, seconds = crawled
    healthy = [url for url in crawler.pages() if url.startswith(f"http://127.0.0.1:{hosts.port}/")]
    found = {
        "faults": len(FAULTS) + len(TLS),
        "honest_pages": len(healthy),
        "seconds": round(seconds),
        "mib": megabytes,
    }
    for name, value in found.items():
        record_property(name, value)
    assert len(healthy) == HEALTHY
    assert megabytes < MEGABYTES
    assert seconds < SECONDS
    assert hosts.cookies == []
