"""Decoding bodies within limits, and telling faults of the network apart."""

import gzip
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.fetch import BadEncoding, Decoder, TooLarge, decode_body, identity
from ingest.settings import NetworkSettings


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "identity": bytes}


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


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
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
        (gzip.compress(b"whole" * 100)[:-12], "gzip"),
        (brotli.compress(b"whole" * 100)[:-3], "br"),
        (b"whatever", "zstd"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes, name: str) -> None:
    with pytest.raises(BadEncoding):
        decode_body(body, name, 10_000)


def test_requests_say_who_asks() -> None:
    assert identity(NetworkSettings(contact="mailto:me@example.org")).endswith("(+mailto:me@example.org)")
    assert identity(NetworkSettings(user_agent="mybot")).startswith("mybot/")
