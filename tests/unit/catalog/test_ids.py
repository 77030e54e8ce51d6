"""Identifiers: stable over years, and never equal by concatenation."""

import os
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import ids

TEXT = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too: they come out of broken pages


def test_ids_are_32_hex_digits_and_stay_as_they_are() -> None:
    assert ids.make_id("page", "http://x/", "00") == "f20dfda9344aa805260f14b79517679e"
    assert len(ids.make_id()) == 32
    assert ids.text_sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("one", "other"),
    [(("ab", "c"), ("a", "bc")), (("a",), ("a", "")), ((), ("",)), (("a", "b"), ("b", "a")), (("a\0b",), ("a", "b"))],
)
def test_no_two_part_lists_collide_by_concatenation(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert ids.make_id(*one) != ids.make_id(*other)


@given(st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_ids_are_equal_only_for_equal_parts(one: list[str], other: list[str]) -> None:
    assert (ids.make_id(*one) == ids.make_id(*other)) == (one == other)


@given(st.permutations(["a", "b", "c"]))
def test_media_and_input_order_do_not_matter(order: list[str]) -> None:
    assert ids.example_id("d", order, "t") == ids.example_id("d", ["a", "b", "c"], "t")
    assert ids.batch_id("fuse", "r", order) == ids.batch_id("fuse", "r", ["a", "b", "c"])


def test_kinds_of_ids_do_not_mix() -> None:
    assert ids.page_id("u", "h") != ids.document_id("u", "h")
    assert ids.example_id("d", ["t"], "x") != ids.example_id("d", [], "t")
    assert ids.batch_id("embed", "r", ["i"]) != ids.batch_id("dedup", "r", ["i"])


def test_settings_hash_ignores_the_order_of_keys_but_no_value() -> None:
    assert ids.settings_hash({"a": 1, "b": [1, 2]}) == ids.settings_hash({"b": [1, 2], "a": 1})
    assert ids.settings_hash({"a": [1, 2]}) != ids.settings_hash({"a": [2, 1]})
    assert ids.settings_hash({"a": None}) != ids.settings_hash({})
    assert ids.settings_hash({"a": "1"}) != ids.settings_hash({"a": 1})


def test_settings_hash_takes_paths_enums_and_sets() -> None:
    class Colour(Enum):
        RED = "red"

    assert ids.settings_hash({"a": Path("x"), "b": Colour.RED}) == ids.settings_hash({"a": "x", "b": "red"})
    assert ids.settings_hash({"a": {"y", "x"}}) == ids.settings_hash({"a": frozenset(["x", "y"])})


def test_settings_hash_of_a_set_is_the_same_in_every_process() -> None:
    code = "from catalog.ids import settings_hash; print(settings_hash({'labels': {'PERSON', 'ORG', 'LOC', 'DATE'}}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_settings_hash_refuses_what_has_no_stable_text() -> None:
    with pytest.raises(TypeError, match="object"):
        ids.settings_hash({"a": object()})
