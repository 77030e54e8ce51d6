"""One YAML or JSON file as a mapping: no key twice, and errors that name the file and the line."""

import json
from pathlib import Path
from typing import Any

from catalog.errors import ConfigError


def read_mapping(path: Path) -> dict[str, Any]:
    """Read one YAML or JSON mapping; raise ConfigError naming the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; write one or pass another path (see configs/quickstart.yaml)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    given = _from_json(path, text) if path.suffix == ".json" else _from_yaml(path, text)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: expected a mapping of settings, found {type(given).__name__}")
    return {str(key): value for key, value in given.items()}


def _from_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    except _WrittenTwice as error:
        raise ConfigError(f"{path}: setting '{error}' is written twice; keep one of them") from error


def _from_yaml(path: Path, text: str) -> Any:
    import yaml  # a home's own configuration is JSON

    from catalog.yaml_loader import Loader

    try:
        return yaml.load(text, Loader)  # noqa: S506 — a safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        last = text.rstrip().count("\n")  # libyaml puts what is missing at the end on the line after it
        line = f"line {min(mark.line, last) + 1}: " if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}: {line}not YAML: {problem}") from error


class _WrittenTwice(ValueError):
    """One mapping of a JSON file has the same key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _WrittenTwice(key)
    return dict(pairs)
