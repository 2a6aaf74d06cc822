"""Notices: what was done, told by the next page. Pure."""

from __future__ import annotations

import hmac
from urllib.parse import quote, unquote

from gateway.console.sessions import Session

NOTICE = "stats_gateway_notice"
"""The cookie's name, with the instance's after it. It is sealed, so that nobody else puts words into the console's
mouth."""


def sealed_notice(text: str, session: Session) -> str:
    """The cookie's value."""
    return f"{_seal(text, session)}.{quote(text, safe='')}"


def notice_of(cookie: str, session: Session) -> str | None:
    """What the page before wanted to be told, if it did."""
    seal, _, quoted = cookie.partition(".")
    text = unquote(quoted)
    genuine = hmac.compare_digest(seal.encode(), _seal(text, session).encode())
    return text if text and genuine else None


def _seal(text: str, session: Session) -> str:
    return hmac.digest(session.csrf.encode(), text.encode("utf-8", "replace"), "sha256").hex()
