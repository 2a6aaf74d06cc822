"""Heads: what a request's head must be before anything else looks at it. Pure."""

from __future__ import annotations

import re
from collections.abc import Set

from gateway.catalogue.target import DEFAULT_PORTS, canonical_authority
from gateway.errors import BadRequest, BadTarget, Headers, Misdirected

HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]{0,5})?")
"""RFC 3986 §3.2.2, §3.2.3; an http authority is never empty (RFC 9110 §4.2.1)."""

REQUEST_LINE = re.compile(rb"(?:\r\n)*+[^ \t\r\n]++ [^ \t\r\n]++ HTTP/[0-9]\.[0-9]\r\n")
"""RFC 9112 §3, after empty lines (§2.2)."""

ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)", re.DOTALL)


def check_request_line(head: bytes) -> None:
    """Refuses a head whose first line holds more spaces, or another protocol, than HTTP's. Raises BadRequest."""
    if not REQUEST_LINE.match(head):
        raise BadRequest("The request line is not a method, a target and a version with one space between.")


def check_head(version: str, headers: Headers) -> None:
    """Refuses a head that is not one of HTTP/1.x. Header names are lower case. Raises BadRequest."""
    if version not in ("1.1", "1.0"):
        raise BadRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadRequest("A request needs exactly one Host header.")  # RFC 9112 §3.2
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is not a host and an optional port.")


def origin_form(target: bytes, ours: Set[bytes]) -> bytes:
    """The target's path and query as the client wrote them (RFC 9112 §3.2).

    ``ours`` are the authorities, in lower case, that an absolute-form target may name. Raises BadTarget
    and Misdirected.
    """
    if b"#" in target:
        raise BadTarget("A request target has no fragment; write # as %23.")
    if target.startswith(b"/"):
        return target
    found = ABSOLUTE.fullmatch(target)
    if found is None:
        raise BadTarget("The request target must be a path that begins with /.")
    scheme, authority, rest = found.groups()
    if not _is_ours(scheme.lower(), authority, ours):
        raise Misdirected("The request target names another server.")
    return rest if rest.startswith(b"/") else b"/" + rest


def _is_ours(scheme: bytes, authority: bytes, ours: Set[bytes]) -> bool:
    if scheme not in DEFAULT_PORTS:
        return False
    named = canonical_authority(scheme, authority)
    return any(canonical_authority(scheme, each) == named for each in ours)
