"""Decoding bodies within limits, holding a bounded number of bytes, and saying who asks."""

import asyncio
import gc
import gzip
import itertools
import tracemalloc
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.budget import Budget, Claim
from ingest.decoding import BadEncoding, Decoder, TooLarge, decode_body
from ingest.fetch import Response, identity, request_headers
from ingest.settings import NetworkSettings


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstd.compress, "identity": bytes,
    "zstd, gzip": lambda data: gzip.compress(zstd.compress(data)),
}  # fmt: skip


@settings(deadline=None)
@given(st.binary(max_size=3000), st.sampled_from(sorted(PACKERS)), st.integers(1, 700))
def test_what_was_packed_comes_back_however_it_is_cut(data: bytes, name: str, step: int) -> None:
    packed = PACKERS[name](data)
    decoder = Decoder(name, 3000)
    pieces = [decoder.feed(packed[k : k + step]) for k in range(0, len(packed), step)]
    decoder.finish()
    assert b"".join(pieces) == data


def test_members_raw_deflate_and_stacked_encodings() -> None:
    assert decode_body(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", 100) == b"onetwo"
    assert decode_body(gzip.compress(b"one") + b"\0\0\0", "x-gzip", 100) == b"one"
    assert decode_body(raw_deflate(b"raw" * 50), "deflate", 1000) == b"raw" * 50
    assert decode_body(brotli.compress(gzip.compress(b"both")), "gzip, br", 1000) == b"both"
    assert decode_body(b"", "gzip", 10) == b""
    assert decode_body(zstd.compress(b"one") + zstd.compress(b"two"), "zstd", 100) == b"onetwo"
    with pytest.raises(BadEncoding, match="3 encodings on top of each other"):
        Decoder("gzip, gzip, gzip", 100)


def test_a_member_that_begins_at_the_very_end_of_a_piece_is_read() -> None:
    first, second = gzip.compress(b"one"), gzip.compress(b"two")
    decoder = Decoder("gzip", 100)
    assert decoder.feed(first + second[:1]) + decoder.feed(second[1:]) == b"onetwo"
    decoder.finish()


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_unpacks_to_hundreds_of_times_its_size_is_refused_below_the_limit_too(name: str) -> None:
    bomb = PACKERS[name](b"\0" * 30_000_000)
    with pytest.raises(TooLarge, match="more than 300 times its size"):
        decode_body(bomb, name, 1 << 30)
    table = b"".join(b"<tr><td>%d</td></tr>" % number for number in range(60_000))
    assert decode_body(PACKERS[name](table), name, 1 << 30) == table


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "zstd, gzip"])
def test_a_bomb_is_stopped_at_the_limit_in_little_memory(name: str) -> None:
    bomb = PACKERS[name](b"\0" * 30_000_000)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decode_body(bomb, name, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"this is no gzip", "gzip"),
        (b"\xff\xff this is no deflate", "deflate"),
        (gzip.compress(b"whole" * 100, mtime=0)[:-12], "gzip"),
        (brotli.compress(b"whole" * 100)[:-3], "br"),
        (b"whatever", "zstd"),
        (zstd.compress(b"whole" * 100)[:-3], "zstd"),
        (b"whatever", "compress"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes, name: str) -> None:
    with pytest.raises(BadEncoding):
        decode_body(body, name, 10_000)


def test_requests_say_who_asks() -> None:
    assert identity(NetworkSettings(contact="mailto:me@example.org")).endswith("(+mailto:me@example.org)")
    assert identity(NetworkSettings(user_agent="mybot")).startswith("mybot/")
    assert request_headers(NetworkSettings(contact="mailto:me@example.org"))["From"] == "me@example.org"
    assert request_headers(NetworkSettings(contact="me@example.org"))["From"] == "me@example.org"
    assert "From" not in request_headers(NetworkSettings(contact="https://example.org/bot@home"))


def test_finished_responses_count_until_they_are_dropped() -> None:
    budget = Budget(100)
    response = Response("http://h/", 200, (), b"x" * 60)
    budget.keep(response, 60)
    with Claim(budget) as claim:
        assert claim.take(40)
        assert not claim.take(1)
        assert budget.held == 100
        del response
        gc.collect()
        assert claim.take(60)
    assert budget.held == 0


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=8), st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_bodies_share_the_memory_and_none_waits_for_ever(bodies: list[list[int]], limit: int) -> None:
    budget = Budget(limit)
    highest = 0

    async def read(pieces: list[int]) -> None:
        nonlocal highest
        with Claim(budget) as claim:
            for piece in pieces:
                await claim.wait(piece, 10.0)
                highest = max(highest, budget.held)
                await asyncio.sleep(0)

    async def read_all() -> None:
        await asyncio.gather(*map(read, bodies))

    asyncio.run(asyncio.wait_for(read_all(), 10))
    assert highest <= limit + max(itertools.chain([0], map(sum, bodies)))
    assert budget.held == 0


def test_a_wait_for_memory_that_nobody_gives_back_ends() -> None:
    budget = Budget(10)
    response = Response("http://h/", 200, (), b"")
    budget.keep(response, 10)

    async def wait() -> None:
        with Claim(budget) as claim:
            await claim.wait(1, 0.1)

    with pytest.raises(TimeoutError, match=r"network\.max_memory"):
        asyncio.run(wait())
