"""Heads: what a request's head must be before anything else looks at it, whichever server has read it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from gateway.catalogue.target import ABSOLUTE, DEFAULT_PORTS, canonical_authority
from gateway.errors import (
    BadRequest,
    BadTarget,
    GatewayError,
    Headers,
    HeadTooLarge,
    MethodUnknown,
    Misdirected,
    TargetTooLong,
    VersionUnsupported,
)
from gateway.proxy.methods import ASTERISK, HOST, KNOWN, target_of

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
REQUEST_LINE = re.compile(rb"(?:\r\n)*+(" + TOKEN + rb"++) [^ \t\r\n]++ HTTP/([0-9]\.[0-9])\r\n")
"""RFC 9112 §3, after empty lines (§2.2)."""
BEGUN = re.compile(rb"(?:\r\n)*+(?:\r|(" + TOKEN + rb"++)( (?:[^ \t\r\n]++(?: [!-~]*+\r?)?)?)?)?\Z")
"""What may still become one: so much of its method, and of all that follows."""
VERSIONS = {b"1.0", b"1.1"}

VISIBLE = re.compile(rb"[!-~]*")
"""All that a target is made of (RFC 3986 §2); which of it belongs where is for the profile to say."""


def check_request_line(head: bytes) -> bool:
    """Whether a head's first line is whole, as far as the head was received.

    Raises BadRequest for what is none, or will be none, MethodUnknown, and VersionUnsupported.
    """
    found = REQUEST_LINE.match(head)
    if found is None:
        if BEGUN.match(head):
            return False
        raise BadRequest("The request line is not a method, a target and a version with one space between.")
    method, version = found.groups()
    if version not in VERSIONS:
        raise VersionUnsupported("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if method not in KNOWN:
        raise MethodUnknown("This method is not known here.")
    return True


def oversized(head: bytes, most: int) -> GatewayError:
    """What is wrong with a head of more than ``most`` bytes: what of it there was no end to."""
    begun = BEGUN.match(head[:most])
    if begun is None or not begun[1]:
        return HeadTooLarge(f"A request head may have {most} bytes.")
    if begun[2] is None:
        return MethodUnknown("This method is not known here.")  # RFC 9112 §3
    return TargetTooLong(f"A request head may have {most} bytes, and its target alone has more.")


def check_head(version: str, headers: Headers) -> None:
    """Refuses a head that does not name one host. Header names are lower case. Raises BadRequest."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadRequest("A request needs exactly one Host header.")  # RFC 9112 §3.2
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is not a host and an optional port.")


def origin_form(method: bytes, target: bytes, ours: Set[bytes]) -> bytes:
    """The target's path and query as the client wrote them, or ``*`` (RFC 9112 §3.2).

    ``ours`` are the authorities, in lower case, that an absolute-form target may name. Raises BadTarget
    and Misdirected.
    """
    if b"#" in target:
        raise BadTarget("A request target has no fragment; write # as %23.")
    if not VISIBLE.fullmatch(target):
        raise BadTarget("The request target holds a byte that no target has.")
    if target.startswith(b"/"):
        return target
    if target == ASTERISK and method == b"OPTIONS":
        return target
    found = ABSOLUTE.fullmatch(target)
    if found is None:
        raise BadTarget("The request target must be a path that begins with /.")
    scheme, authority, rest = found.groups()
    if not _is_ours(scheme.lower(), authority, ours):
        raise Misdirected("The request target names another server.")
    if not rest and method == b"OPTIONS":
        return ASTERISK
    return rest if rest.startswith(b"/") else b"/" + rest


def checked_target(scope: Mapping[str, Any], hosts: Set[bytes]) -> bytes:
    """The target in origin form of a request that another server has read: what our own protocol checks of a head,
    as far as it shows here. ``hosts`` are authorities besides where the request arrived. Raises as those do."""
    check_head(scope["http_version"], scope["headers"])
    target = target_of(scope)
    return origin_form(scope["method"].encode(), target, authorities(scope.get("server"), hosts))


def authorities(server: tuple[str, int | None] | None, hosts: Set[bytes]) -> Set[bytes]:
    """What an absolute-form target may name: ``hosts``, and where its connection arrived."""
    host, port = server or ("localhost", None)
    own = {f"[{host}]" if ":" in host else host, "localhost"}
    return hosts | {f"{name}:{port}".encode() for name in own}


def _is_ours(scheme: bytes, authority: bytes, ours: Set[bytes]) -> bool:
    if scheme not in DEFAULT_PORTS:
        return False
    named = canonical_authority(scheme, authority)
    return any(canonical_authority(scheme, each) == named for each in ours)
