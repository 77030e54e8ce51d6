"""YAML as JSON would mean it."""

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader as Safe
else:  # libyaml's is ten times as fast; not every build has it
    Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Loader(Safe):
    """YAML as JSON would mean it: no dates, and no key twice in one mapping, where the last would silently win."""

    yaml_implicit_resolvers = {  # noqa: RUF012 — as upstream declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in Safe.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"setting '{key.value}' is written twice; keep one of them", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
