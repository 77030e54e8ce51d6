"""Undoing Content-Encoding piece by piece: gzip, deflate, Brotli and zstd, bounded in size, ratio and depth."""

import sys
import zlib
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = "gzip, deflate, br, zstd"
MAX_STACKED = 2  # encodings on top of each other; more are an attack, never a mistake
MAX_RATIO = 300  # decoded to received; a long page of one repeated row stays below 200
FREE_BYTES = 2 << 20  # what any body may grow to, whatever its ratio
ZSTD_WINDOW_LOG = 23  # 8 MiB, RFC 9659
GZIP_MAGIC = b"\x1f\x8b"


class BadEncoding(ValueError):
    """A body that is not what its Content-Encoding says, or an encoding that was not asked for."""


class TooLarge(ValueError):
    """A body that passed its limit."""


class _Decompressor(Protocol):
    def feed(self, data: bytes, limit: int) -> bytes:
        """Return what `data` unpacks to; anything longer than `limit` may stop right behind it."""

    def finished(self) -> bool: ...


class _Zlib:
    """gzip (any number of members) and deflate, with or without the zlib header."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inner = zlib.decompressobj(wbits)
        self._started = False

    def feed(self, data: bytes, limit: int) -> bytes:
        output = bytearray()
        while data and len(output) <= limit:
            if self._inner.eof:
                if not data.startswith(GZIP_MAGIC[:1]):
                    break  # what follows the last member is padding, as browsers see it
                self._inner = zlib.decompressobj(self._wbits)
            try:
                output += self._inner.decompress(data, limit - len(output) + 1)
            except zlib.error as error:
                if self._started or self._wbits != zlib.MAX_WBITS:
                    raise BadEncoding(str(error)) from error
                self._wbits = -zlib.MAX_WBITS  # some servers send raw deflate under the name of zlib
                self._inner = zlib.decompressobj(self._wbits)
                self._started = True
                continue
            self._started = True
            data = self._inner.unconsumed_tail or self._inner.unused_data
        return bytes(output)

    def finished(self) -> bool:
        return self._inner.eof or not self._started


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def feed(self, data: bytes, limit: int) -> bytes:
        try:
            output = bytearray(self._inner.process(data, output_buffer_limit=limit + 1))
            while len(output) <= limit and not self._inner.can_accept_more_data() and not self._inner.is_finished():
                output += self._inner.process(b"", output_buffer_limit=limit + 1 - len(output))
        except brotli.error as error:
            raise BadEncoding(str(error)) from error
        return bytes(output)

    def finished(self) -> bool:
        return bool(self._inner.is_finished())


class _Zstd:
    """Any number of frames."""

    def __init__(self) -> None:
        self._inner = _zstd()
        self._started = False

    def feed(self, data: bytes, limit: int) -> bytes:
        output = bytearray()
        try:
            while (data or not (self._inner.eof or self._inner.needs_input)) and len(output) <= limit:
                if self._inner.eof:
                    self._inner = _zstd()
                output += self._inner.decompress(data, limit - len(output) + 1)
                self._started = True
                data = self._inner.unused_data if self._inner.eof else b""
        except zstd.ZstdError as error:
            raise BadEncoding(str(error)) from error
        return bytes(output)

    def finished(self) -> bool:
        return bool(self._inner.eof) or not self._started


def _zstd() -> "zstd.ZstdDecompressor":
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})


class Decoder:
    """Undoes Content-Encoding piece by piece and never holds more than `max_bytes`."""

    def __init__(self, encodings: str, max_bytes: int) -> None:
        names = [name.strip().lower() for name in encodings.split(",") if name.strip().lower() not in ("", "identity")]
        if len(names) > MAX_STACKED:
            raise BadEncoding(f"{len(names)} encodings on top of each other, more than {MAX_STACKED}")
        self._stages = [_decompressor(name) for name in reversed(names)]
        self._max_bytes = max_bytes
        self._received = 0
        self._decoded = 0

    def feed(self, data: bytes) -> bytes:
        """Decode one piece; raise TooLarge or BadEncoding."""
        self._received += len(data)
        allowed = min(self._max_bytes, max(FREE_BYTES, self._received * MAX_RATIO))
        for stage in self._stages:
            data = stage.feed(data, allowed - self._decoded)
            self._check(self._decoded + len(data), allowed)
        self._decoded += len(data)
        self._check(self._decoded, allowed)
        return data

    def _check(self, size: int, allowed: int) -> None:
        if size <= allowed:
            return
        if allowed < self._max_bytes:
            raise TooLarge(f"unpacks to more than {MAX_RATIO} times its size")
        raise TooLarge(f"more than {self._max_bytes} bytes")

    def finish(self) -> None:
        """Raise BadEncoding where the stream stopped in the middle."""
        if not all(stage.finished() for stage in self._stages):
            raise BadEncoding("compressed stream is cut off")


def _decompressor(name: str) -> _Decompressor:
    match name:
        case "gzip" | "x-gzip":
            return _Zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return _Zlib(zlib.MAX_WBITS)
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            raise BadEncoding(f"Content-Encoding '{name[:40]}' was not asked for")


def decode_body(body: bytes, encodings: str, max_bytes: int) -> bytes:
    """Decode a whole body; raise TooLarge or BadEncoding."""
    decoder = Decoder(encodings, max_bytes)
    decoded = decoder.feed(body)
    decoder.finish()
    return decoded
