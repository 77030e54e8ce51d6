"""Parsing during a crawl: small answers at once, large ones where they can be stopped."""

import asyncio
import time

import pytest

from ingest.fetch import BadEncoding, Response
from ingest.guard import Stopped
from ingest.links import read_page
from ingest.reader import SMALL_BYTES, Reader
from ingest.sitemaps import read_sitemap

URL = "http://h/"


def response(body: bytes) -> Response:
    return Response(URL, 200, (("Content-Type", "text/html"),), body)


def test_what_takes_hours_is_stopped_and_the_next_is_read() -> None:
    nested = response(b"<div>" * 400_000)
    large = response(b'<a href="x">x</a>' + b"<p>words</p>" * (SMALL_BYTES // 10))
    small = response(b'<a href="y">y</a>')

    async def read() -> None:
        reader = Reader(1.5)
        try:
            started = time.monotonic()
            stopped, page = await asyncio.gather(
                reader.read(read_page, nested, "headrace"), reader.read(read_page, small, "headrace"),
                return_exceptions=True,
            )  # fmt: skip
            assert isinstance(stopped, Stopped)
            assert time.monotonic() - started < 60
            assert not isinstance(page, BaseException)
            assert page.links == ["http://h/y"]
            assert (await reader.read(read_page, large, "headrace")).links == ["http://h/x"]
            with pytest.raises(BadEncoding):
                await reader.read(read_sitemap, response(b"<" * (SMALL_BYTES + 1)), 1 << 20)
        finally:
            reader.close()

    asyncio.run(read())
