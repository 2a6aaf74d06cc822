"""Targets as people paste them."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.errors import InvalidInput


def split_target(text: str) -> tuple[bytes, bytes]:
    """The path and the query of a request target, or of a whole URL. Raises InvalidInput for neither."""
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            raise InvalidInput("This is no URL") from None
        text = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput("A path begins with / and holds no spaces; other characters are percent-encoded")
    path, _, query = text.partition("?")
    return path.encode(), query.partition("#")[0].encode()
