"""URLs as the tables spell them: serialised by the WHATWG standard, without fragment and credentials."""

import ada_url


def canonical(url: str, base: str | None = None) -> str | None:
    """Return the serialised http(s) URL without fragment and credentials, or None where it is not one."""
    try:
        parsed = ada_url.URL(url.strip(), base) if base else ada_url.URL(url.strip())
    except (ValueError, UnicodeError):
        return None
    if parsed.protocol not in ("http:", "https:") or not parsed.hostname:
        return None
    parsed.hash = ""
    parsed.username = ""
    parsed.password = ""
    return str(parsed.href)
