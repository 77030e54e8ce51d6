"""One HTTP request, bounded in time, bytes and decompression, to an address that was judged before connecting."""

import ssl
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Protocol, TypeAlias

import aiohttp
import brotli
from yarl import URL

from catalog.schema import Reason
from ingest.addresses import BlockedAddress, Guard, GuardedResolver
from ingest.settings import NetworkSettings
from ingest.urls import hostname_of

CHUNK = 64 << 10
CONNECT_SECONDS = 10.0
MAX_HEADER_BYTES = 16 << 10
ENCODINGS = "gzip, deflate, br"


@dataclass(frozen=True)
class Response:
    """A response that came whole; the body is decoded, and empty unless the caller's `wants` asked for it."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def get(self, name: str) -> str:
        """Return a header's values joined by commas, '' where there is none."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.get("content-type").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Failure:
    """Why a request brought nothing; `again` where another try may succeed."""

    reason: Reason
    detail: str
    again: bool = False


Outcome: TypeAlias = Response | Failure
Wants: TypeAlias = Callable[
    [Response], Failure | bool
]  # asked with the headers alone: read the body, or not, or why not


class _Decompressor(Protocol):
    def feed(self, data: bytes, limit: int) -> bytes: ...
    def finished(self) -> bool: ...


class BadEncoding(ValueError):
    """A body that is not what its Content-Encoding says, or an encoding that was not asked for."""


class TooLarge(ValueError):
    """A body that passed its limit."""


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
                if not data.startswith(b"\x1f\x8b"):
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


class Decoder:
    """Undoes Content-Encoding piece by piece and never holds more than `max_bytes`."""

    def __init__(self, encodings: str, max_bytes: int) -> None:
        names = [name.strip().lower() for name in encodings.split(",") if name.strip().lower() not in ("", "identity")]
        self._stages = [_decompressor(name) for name in reversed(names)]
        self._left = max_bytes

    def feed(self, data: bytes) -> bytes:
        """Decode one piece; raise TooLarge or BadEncoding."""
        for stage in self._stages:
            data = stage.feed(data, self._left)
        if len(data) > self._left:
            raise TooLarge
        self._left -= len(data)
        return data

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
        case _:
            raise BadEncoding(f"Content-Encoding '{name}' was not asked for")


def decode_body(body: bytes, encodings: str, max_bytes: int) -> bytes:
    """Decode a whole body; raise TooLarge or BadEncoding."""
    decoder = Decoder(encodings, max_bytes)
    decoded = decoder.feed(body)
    decoder.finish()
    return decoded


def identity(settings: NetworkSettings) -> str:
    """Return the User-Agent header: product token, version and contact."""
    return f"{settings.user_agent}/{version('headrace')}" + (f" (+{settings.contact})" if settings.contact else "")


class Fetcher:
    """An HTTP client that follows nothing by itself, keeps no cookies and obeys the guard."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._guard = Guard.of(settings.allow_private_hosts)

    async def __aenter__(self) -> "Fetcher":
        connector = aiohttp.TCPConnector(
            limit=0, resolver=GuardedResolver(self._guard), use_dns_cache=False, socket_factory=self._guard.open_socket,
            happy_eyeballs_delay=None,
        )  # fmt: skip
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False,
            max_line_size=MAX_HEADER_BYTES, max_field_size=MAX_HEADER_BYTES,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=CONNECT_SECONDS),
            headers={
                "User-Agent": identity(self._settings), "Accept-Encoding": ENCODINGS,
                "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
            },
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str, wants: Wants, headers: Mapping[str, str] | None = None) -> Outcome:
        """Send one GET for a canonical URL; every fault of the other side comes back as a Failure."""
        target = URL(url, encoded=True)
        if (target.raw_host or "") != hostname_of(url):
            return Failure(Reason.BAD_URL, "two URL parsers disagree about its host")
        try:
            async with self._session.get(target, headers=headers or {}, allow_redirects=False) as reply:
                return await self._read(url, reply, wants)
        except BlockedAddress as error:
            return Failure(Reason.BLOCKED_ADDRESS, str(error))
        except aiohttp.InvalidURL as error:
            return Failure(Reason.BAD_URL, f"{error}")
        except TimeoutError:
            return Failure(Reason.TIMEOUT, f"no whole answer within {self._settings.timeout:g} s", again=True)
        except aiohttp.ClientConnectorError as error:
            return _unconnected(error)
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError, ValueError) as error:
            return Failure(
                Reason.BAD_RESPONSE, _one_line(error), again=isinstance(error, aiohttp.ClientConnectionError)
            )

    async def _read(self, url: str, reply: aiohttp.ClientResponse, wants: Wants) -> Outcome:
        headers = tuple((name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in reply.raw_headers)
        response = Response(url, reply.status, headers, b"")
        wanted = wants(response)
        if isinstance(wanted, Failure):
            reply.close()
            return wanted
        if not wanted:
            return response
        limit = self._settings.max_bytes
        if (reply.content_length or 0) > limit:
            reply.close()
            return Failure(Reason.TOO_LARGE, f"{reply.content_length} bytes, more than {limit}")
        try:
            body = await self._body(reply, response.get("content-encoding"), limit)
        except TooLarge:
            reply.close()
            return Failure(Reason.TOO_LARGE, f"more than {limit} bytes")
        except BadEncoding as error:
            reply.close()
            return Failure(Reason.BAD_RESPONSE, f"body: {error}")
        return Response(url, reply.status, headers, body)

    @staticmethod
    async def _body(reply: aiohttp.ClientResponse, encodings: str, limit: int) -> bytes:
        decoder = Decoder(encodings, limit)
        body, received = bytearray(), 0
        async for chunk in reply.content.iter_chunked(CHUNK):
            received += len(chunk)
            if received > limit:
                raise TooLarge
            body += decoder.feed(chunk)
        decoder.finish()
        return bytes(body)


def _unconnected(error: aiohttp.ClientConnectorError) -> Failure:
    cause: BaseException | None = error.os_error
    while cause is not None:
        if isinstance(cause, BlockedAddress):
            return Failure(Reason.BLOCKED_ADDRESS, str(cause))
        cause = cause.__cause__ or cause.__context__
    unresolved = isinstance(error, aiohttp.ClientConnectorDNSError)
    detail = f"cannot resolve {error.host}" if unresolved else _one_line(error.os_error.strerror or error.os_error)
    return Failure(Reason.UNREACHABLE, detail, again=not unresolved)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
