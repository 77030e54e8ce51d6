"""Parsing during a crawl: small answers at once, large ones where they can be stopped."""

import asyncio
import gzip
import os
import time

import pytest

from catalog.guard import Stopped
from ingest.fetch import BadEncoding, Response
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


def process_of(_response: Response) -> int:
    return os.getpid()


def test_what_is_packed_is_parsed_where_it_can_be_stopped_however_small() -> None:
    packed, plain = response(gzip.compress(b"<urlset>" * 100)), response(b"<urlset>")

    async def read() -> None:
        reader = Reader(10.0)
        try:
            assert await reader.read(process_of, plain) == reader.read_here(process_of, plain) == os.getpid()
            assert await reader.read(process_of, packed) != os.getpid()
            assert reader.read_here(process_of, packed) != os.getpid()
        finally:
            reader.close()

    asyncio.run(read())
