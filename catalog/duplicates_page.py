"""Pairs of records side by side, as one HTML page: pictures inline, texts with their changes."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from catalog.duplicates import facts

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em }
section { border-top: 1px solid #ccc; margin-top: 1.5em }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1em }
img { max-width: 100%; background: #eee }
small, .url { color: #555; overflow-wrap: anywhere }
pre { white-space: pre-wrap; font: inherit; background: #f6f6f4; padding: .5em; margin: 0 }
ins { background: #d6f5d6; text-decoration: none } del { background: #f8d7d7 }
"""


def page(pairs: Sequence[dict[str, Any]]) -> str:
    """Return the page of pairs as `duplicates.shown` describes them."""
    parts = [f"<!doctype html><meta charset=utf-8><title>Duplicates</title><style>{STYLE}</style>"]
    for pair in pairs:
        model = f", {pair['model']}@{pair['revision']}" if pair["model"] else ""
        how = f"{pair['kind']} by {pair['method']}, score {pair['score']:.3f}, from {pair['threshold']:.3f} on{model}"
        parts.append(f"<section><h2>{escape(pair['state'])}: {escape(how)}</h2><div class=two>")
        parts += [_side(pair, "record", "url"), _side(pair, "kept", "kept_url")]
        parts.append(f"</div>{_changes(pair['difference'])}</section>")
    return "\n".join(parts)


def _side(pair: dict[str, Any], name: str, url: str) -> str:
    record = pair[name]
    picture = ""
    if record.get("webp"):
        picture = f'<img alt="" src="data:image/webp;base64,{base64.b64encode(record["webp"]).decode()}">'
    words = f"<pre>{escape(record['text'])}</pre>" if record.get("text") and not pair["difference"] else ""
    about = f"<small>{escape(pair[name + '_id'])} · {escape(facts(record))}</small>"
    return f"<div><b>{name}</b> <span class=url>{escape(pair[url] or '')}</span><br>{about}<br>{picture}{words}</div>"


def _changes(lines: Sequence[str]) -> str:
    marks = {"+": "ins", "-": "del"}
    told = [
        f"<{marks[line[0]]}>{escape(line)}</{marks[line[0]]}>" if line[0] in marks else escape(line)
        for line in lines[2:]
    ]
    return f"<pre>{chr(10).join(told)}</pre>" if told else ""
