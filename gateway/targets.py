"""Targets and methods: what a request may ask, and of what. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any
from urllib.parse import quote

TARGET = "gateway.target"
"""Where an ASGI scope has its request's target, in origin form as it was written: servers split it, and a ``?``
before nothing is lost with that."""
ASTERISK = b"*"
"""The target that is the server as a whole, for OPTIONS alone (RFC 9112 §3.2.4)."""

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?")
"""RFC 3986 §3.2.2, §3.2.3; an http authority is never empty (RFC 9110 §4.2.1)."""

READING = frozenset({b"GET", b"HEAD"})
POST = b"POST"
NEVER = frozenset({b"CONNECT", b"TRACE"})
"""No tunnels, and no showing of what a request carried (RFC 9110 §9.3.6, §9.3.8)."""
KNOWN = (
    READING
    | NEVER
    | {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"QUERY"}
    | {b"ACL", b"BIND", b"CHECKOUT", b"COPY", b"LINK", b"LOCK", b"MERGE", b"MKACTIVITY", b"MKCALENDAR", b"MKCOL"}
    | {b"MOVE", b"PROPFIND", b"PROPPATCH", b"REBIND", b"REPORT", b"SEARCH", b"UNBIND", b"UNLINK", b"UNLOCK"}
    | {b"M-SEARCH", b"NOTIFY", b"PURGE", b"SUBSCRIBE", b"UNSUBSCRIBE"}
)
"""The methods that uvicorn's parser reads: those that are registered, nearly, and some that are in use."""


def target_of(scope: Mapping[str, Any]) -> bytes:
    """The target of a request in an ASGI scope, as nearly as its server tells what was written."""
    if TARGET in scope:
        target: bytes = scope[TARGET]
        return target
    path: bytes = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~").encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def allowed(methods: Set[bytes] | None) -> bytes:
    """The value of Allow (RFC 9110 §10.2.1) where these are served; for None, the well-known ones."""
    named = {b"DELETE", b"OPTIONS", b"PATCH", b"POST", b"PUT"} if methods is None else methods
    return b", ".join([b"GET", b"HEAD", *sorted(named - READING)])
