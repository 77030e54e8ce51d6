"""Identifiers: SHA-256 over length-prefixed parts, so that no two different part lists collide by concatenation."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date
from enum import Enum
from pathlib import PurePath


def make_id(*parts: str) -> str:
    """Return H(parts…): the first 32 hex digits of SHA-256 over each part's UTF-8 length (8 bytes) and bytes."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:32]


def page_id(url: str, payload_sha256: str) -> str:
    """Identify one payload of one canonical URL."""
    return make_id("page", url, payload_sha256)


def document_id(url: str, text_sha256: str) -> str:
    """Identify one text of one canonical URL."""
    return make_id("document", url, text_sha256)


def example_id(document: str, media: Iterable[str], template: str) -> str:
    """Identify one fused sample by its document, its media (in any order) and its template."""
    return make_id("example", document, *sorted(media), template)


def batch_id(stage: str, recipe: str, inputs: Iterable[str]) -> str:
    """Identify the one output batch of a stage under a recipe for its input batches (in any order)."""
    return make_id("batch", stage, recipe, *sorted(inputs))


def text_sha256(text: str) -> str:
    """Return the SHA-256 hex digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def settings_hash(settings: Mapping[str, object]) -> str:
    """Hash JSON-able settings, independent of the order of keys and of sets; raise TypeError for other objects."""
    return make_id("settings", json.dumps(settings, sort_keys=True, ensure_ascii=False, default=_plain))


def _plain(value: object) -> object:
    """Give what JSON lacks a form that is the same in every process; most objects' str is not."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=lambda item: json.dumps(item, sort_keys=True, default=_plain))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath | date):
        return str(value)
    raise TypeError(f"settings that change results must be plain values, not {type(value).__name__}: {value!r}")
