"""Targets as people paste them."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.errors import InvalidInput


def pasted_target(text: str) -> bytes:
    """A request target, or that of a whole URL, without a fragment. Raises InvalidInput for neither."""
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            raise InvalidInput("This is no URL") from None
        marked = parts.query or text.partition("#")[0].endswith("?")
        text = (parts.path or "/") + (f"?{parts.query}" if marked else "")
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput("A path begins with / and holds no spaces; other characters are percent-encoded")
    path, mark, query = text.partition("?")
    return (path + mark + query.partition("#")[0]).encode()
