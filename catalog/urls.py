"""URLs as the tables spell them: serialised by the WHATWG standard, without fragment and credentials."""

import ada_url


def canonical(url: str, base: str | None = None) -> str | None:
    """Return the serialised http(s) URL without fragment and credentials, or None where it is not one."""
    try:
        href = str(ada_url.join_url(base, url.strip()) if base else ada_url.normalize_url(url.strip()))
    except (ValueError, UnicodeError):
        return None
    if not href.startswith(("http://", "https://")):
        return None
    if "#" not in href and "@" not in href:
        return href
    parsed = ada_url.URL(href)
    parsed.hash = ""
    parsed.username = ""
    parsed.password = ""
    return str(parsed.href)
