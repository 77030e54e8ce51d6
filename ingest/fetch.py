"""One HTTP request, bounded in time, bytes and decompression, to an address that was judged before connecting."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import TypeAlias

import aiohttp
from yarl import URL

from catalog.schema import Reason
from ingest.addresses import BlockedAddress, Guard, GuardedResolver
from ingest.budget import Budget, Claim
from ingest.decoding import ENCODINGS, Decoder
from ingest.decoding import BadEncoding as BadEncoding
from ingest.decoding import TooLarge as TooLarge
from ingest.decoding import decode_body as decode_body
from ingest.hints import encodable
from ingest.settings import NetworkSettings
from ingest.urls import hostname_of, port_of

CHUNK = 64 << 10
MAX_HEADER_BYTES = 16 << 10  # of one header
MAX_HEADERS = 128
MAX_DETAIL = 2000  # characters: a detail stands in tables, and may quote what a stranger wrote
RATE_SECONDS = 5.0  # after which a body must have come at network.min_rate


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

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", encodable(self.detail[:MAX_DETAIL]))


Outcome: TypeAlias = Response | Failure
Wants: TypeAlias = Callable[
    [Response], Failure | bool
]  # asked with the headers alone: read the body, or not, or why not


class _TooSlow(Exception):
    """A body that trickles in."""


def identity(settings: NetworkSettings) -> str:
    """Return the User-Agent header: product token, version and contact."""
    return f"{settings.user_agent}/{version('headrace')}" + (f" (+{settings.contact})" if settings.contact else "")


def request_headers(settings: NetworkSettings) -> dict[str, str]:
    """Return what every request says of its sender and of what it can read; From (RFC 9110, 10.1.2) is a mailbox."""
    headers = {
        "User-Agent": identity(settings), "Accept-Encoding": ENCODINGS,
        "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    }  # fmt: skip
    mailbox = settings.contact.removeprefix("mailto:").partition("?")[0]
    if "@" in mailbox and "/" not in mailbox:
        headers["From"] = mailbox
    return headers


class Fetcher:
    """An HTTP client that follows nothing by itself, keeps no cookies and obeys the guard."""

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._guard = Guard.of(settings.allow_private_hosts)
        self._budget = Budget(int(settings.max_memory))

    async def __aenter__(self) -> "Fetcher":
        connector = aiohttp.TCPConnector(
            limit=0, resolver=GuardedResolver(self._guard), use_dns_cache=False, socket_factory=self._guard.open_socket,
            happy_eyeballs_delay=None,
        )  # fmt: skip
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False,
            max_line_size=MAX_HEADER_BYTES, max_field_size=MAX_HEADER_BYTES, max_headers=MAX_HEADERS,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_timeout, sock_read=self._settings.read_timeout
            ),
            headers=request_headers(self._settings),
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
        if not self._guard.permits_literal(hostname_of(url), port_of(url)):
            detail = f"{hostname_of(url)} is not a public address; allow it in network.allow_private_hosts"
            return Failure(Reason.BLOCKED_ADDRESS, detail)
        try:
            async with (
                asyncio.timeout(self._settings.timeout) as limit,
                self._session.get(target, headers=headers or {}, allow_redirects=False) as reply,
            ):
                return await self._read(url, reply, wants, limit)
        except BlockedAddress as error:
            return Failure(Reason.BLOCKED_ADDRESS, str(error))
        except aiohttp.InvalidURL as error:
            return Failure(Reason.BAD_URL, f"{error}")
        except _TooSlow as error:
            return Failure(Reason.TIMEOUT, str(error))
        except TimeoutError as error:
            return Failure(Reason.TIMEOUT, self._silence(error), again=True)
        except aiohttp.ClientConnectorError as error:
            return _unconnected(error)
        except aiohttp.ClientPayloadError as error:
            return _broken_body(error)
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError, ValueError) as error:
            return Failure(
                Reason.BAD_RESPONSE, _one_line(error), again=isinstance(error, aiohttp.ClientConnectionError)
            )

    def _silence(self, error: TimeoutError) -> str:
        match error:
            case aiohttp.ConnectionTimeoutError():
                return f"no connection within {self._settings.connect_timeout:g} s"
            case aiohttp.SocketTimeoutError():
                return f"nothing came for {self._settings.read_timeout:g} s"
        return str(error) or f"no whole answer within {self._settings.timeout:g} s"

    async def _read(self, url: str, reply: aiohttp.ClientResponse, wants: Wants, limit: asyncio.Timeout) -> Outcome:
        headers = tuple((name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in reply.raw_headers)
        response = Response(url, reply.status, headers, b"")
        wanted = wants(response)
        if isinstance(wanted, Failure):
            reply.close()
            return wanted
        if not wanted:
            return response
        max_bytes = int(self._settings.max_bytes)
        if (reply.content_length or 0) > max_bytes:
            reply.close()
            return Failure(Reason.TOO_LARGE, f"{reply.content_length} bytes, more than {max_bytes}")
        try:
            with Claim(self._budget) as claim:
                decoder = Decoder(response.get("content-encoding"), max_bytes)
                body = await self._body(reply, decoder, claim, limit)
                response = Response(url, reply.status, headers, body)
                self._budget.keep(response, len(body))
                return response
        except TooLarge as error:
            reply.close()
            return Failure(Reason.TOO_LARGE, str(error))
        except BadEncoding as error:
            reply.close()
            return Failure(Reason.BAD_RESPONSE, f"body: {error}")

    async def _body(
        self, reply: aiohttp.ClientResponse, decoder: Decoder, claim: Claim, limit: asyncio.Timeout
    ) -> bytes:
        settings, max_bytes = self._settings, int(self._settings.max_bytes)
        clock = asyncio.get_running_loop().time
        pieces, received, started = [], 0, clock()
        async for chunk in reply.content.iter_chunked(CHUNK):
            received += len(chunk)
            if received > max_bytes:
                raise TooLarge(f"more than {max_bytes} bytes")
            pieces.append(decoder.feed(chunk))
            if not claim.take(len(pieces[-1])):  # our own want of memory is not the server's fault: stop both clocks
                left = (limit.when() or clock()) - clock()
                limit.reschedule(None)
                started += await claim.wait(len(pieces[-1]), settings.timeout)
                limit.reschedule(clock() + left)
            seconds = clock() - started
            if seconds > RATE_SECONDS and received < settings.min_rate * seconds:
                reply.close()
                raise _TooSlow(f"{received} bytes in {seconds:.0f} s, less than {int(settings.min_rate)} a second")
        decoder.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _broken_body(error: aiohttp.ClientPayloadError) -> Failure:
    text = _one_line(error)
    if "Not enough data" in text:  # aiohttp's words for a body that ends before its length or its last chunk
        return Failure(Reason.BAD_RESPONSE, "cut off: the connection ended before the body did", again=True)
    return Failure(Reason.BAD_RESPONSE, text, again=isinstance(error.__cause__, ConnectionError))


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
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before it had answered"
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    text = text.partition("\n")[0].partition(": b")[0].rstrip(": ")  # without the bytes that aiohttp quotes
    return " ".join(text.split())[:200] or type(error).__name__
