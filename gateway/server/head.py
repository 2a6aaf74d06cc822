"""Checks of a request's head, the body that it announces (RFC 9112 §6), and a listener's limits. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.catalogue.endpoints import MOST_POSTED_BYTES, POSTED_PATHS
from gateway.catalogue.target import ABSOLUTE, DEFAULT_PORTS, canonical_authority, path_of
from gateway.errors import (
    BadRequest,
    BadTarget,
    BodyTooLarge,
    GatewayError,
    Headers,
    HeadTooLarge,
    MethodNotAllowed,
    MethodUnknown,
    Misdirected,
    TargetTooLong,
    VersionUnsupported,
)
from gateway.jobs.wanted import JOB_PATHS, MOST_BYTES
from gateway.proxy.methods import ASTERISK, HOST, KNOWN, NEVER, POST, READING, allowed
from gateway.proxy.request import target_of
from gateway.upstream.message import Chunked, Content, Sized

if TYPE_CHECKING:
    from gateway.settings import Settings


TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
REQUEST_LINE = re.compile(rb"(?:\r\n)*+(" + TOKEN + rb"++) [^ \t\r\n]++ HTTP/([0-9]\.[0-9])\r\n")
"""RFC 9112 §3, after empty lines (§2.2)."""
BEGUN = re.compile(rb"(?:\r\n)*+(?:\r|(" + TOKEN + rb"++)( (?:[^ \t\r\n]++(?: [!-~]*+\r?)?)?)?)?\Z")
"""The beginning of a request line: its method so far, and the rest so far."""
VERSIONS = {b"1.0", b"1.1"}

VISIBLE = re.compile(rb"[!-~]*")
"""The characters of a target (RFC 3986 §2); their order is the profile's business."""


def check_request_line(head: bytes) -> bool:
    """Whether the received part of a head has a complete request line.

    Raises BadRequest for what cannot become one, MethodUnknown and VersionUnsupported.
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
    """The error for a head of more than ``most`` bytes, by the part that does not end."""
    begun = BEGUN.match(head[:most])
    if begun is None or not begun[1]:
        return HeadTooLarge(f"A request head may have {most} bytes.")
    if begun[2] is None:
        return MethodUnknown("This method is not known here.")  # RFC 9112 §3
    return TargetTooLong(f"A request head may have {most} bytes, and its target alone has more.")


def check_head(version: str, headers: Headers) -> None:
    """Raise BadRequest unless the head names one host. Header names are lower case."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise BadRequest("A request needs exactly one Host header.")  # RFC 9112 §3.2
    if hosts and not HOST.fullmatch(hosts[0]):
        raise BadRequest("The Host header is not a host and an optional port.")


def origin_form(method: bytes, target: bytes, ours: Set[bytes]) -> bytes:
    """The target's path and query as the client wrote them, or ``*`` (RFC 9112 §3.2).

    ``ours`` are the authorities, in lower case, that an absolute-form target may name. Raises BadTarget and
    Misdirected.
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
    """The target, in origin form, of a request read by another server; raises what our own protocol would.

    ``hosts`` are authorities besides the address where the request arrived.
    """
    check_head(scope["http_version"], scope["headers"])
    target = target_of(scope)
    ours = frozenset() if target.startswith(b"/") else authorities(scope.get("server"), hosts)
    return origin_form(scope["method"].encode(), target, ours)


def authorities(server: tuple[str, int | None] | None, hosts: Set[bytes]) -> Set[bytes]:
    """The authorities of an absolute-form target: ``hosts``, and the address where the connection arrived."""
    host, port = server or ("localhost", None)
    own = {f"[{host}]" if ":" in host else host, "localhost"}
    return hosts | {f"{name}:{port}".encode() for name in own}


def _is_ours(scheme: bytes, authority: bytes, ours: Set[bytes]) -> bool:
    if scheme not in DEFAULT_PORTS:
        return False
    named = canonical_authority(scheme, authority)
    return any(canonical_authority(scheme, each) == named for each in ours)


BARE = READING | {b"OPTIONS"}
"""Methods that may have an empty body in chunks, though no other body."""


class EmptyBody:
    """A chunked body without content (RFC 9112 §7.1); raises ``refusal`` where content comes."""

    def __init__(self, refusal: GatewayError) -> None:
        self._chunks = Chunked(0)
        self._refusal = refusal

    @property
    def complete(self) -> bool:
        return self._chunks.complete

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            return self._chunks.take(data)
        except BodyTooLarge:
            raise self._refusal from None


def content_of(
    method: bytes, version: str, headers: Headers, methods: Set[bytes] | None, cap: int
) -> Content | None:
    """The body that a head announces, or None. Header names are lower case; ``methods`` None means any.

    Raises BadRequest where the framing is not beyond doubt (RFC 9112 §6.1, §6.3) and for a body on GET or HEAD,
    MethodNotAllowed for CONNECT and TRACE and for a body on a method not among ``methods``, BodyTooLarge over
    ``cap`` bytes. Chunks on a method in BARE are an ``EmptyBody``.
    """
    if method in NEVER:
        raise MethodNotAllowed("This method is never served.", allow=allowed(methods))
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    content = _framed(version, codings, lengths, cap)
    if content is None:
        return None
    refusal = _refusal(method, methods)
    if refusal is not None and codings and method in BARE:
        return EmptyBody(refusal)
    if refusal is not None:
        raise refusal
    if lengths and int(lengths[0]) > cap:
        raise BodyTooLarge(f"A request body may have {cap} bytes.")
    return content


def _refusal(method: bytes, methods: Set[bytes] | None) -> GatewayError | None:
    """The error for a body on this method, if it may have none."""
    if method in READING:
        return BadRequest("A GET or HEAD request must not have a body.")
    if methods is not None and method not in methods:
        return MethodNotAllowed("This method is not served.", allow=allowed(methods))
    return None


def _framed(version: str, codings: list[bytes], lengths: list[bytes], cap: int) -> Content | None:
    if len(codings) + len(lengths) > 1:
        raise BadRequest("A request says once how its body is framed.")
    if codings:
        if version != "1.1" or codings[0].lower() != b"chunked":
            raise BadRequest("The only transfer coding is chunked, in HTTP/1.1.")
        return Chunked(cap)
    if not lengths:
        return None
    if not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise BadRequest("The Content-Length is not a number.")
    return Sized(int(lengths[0])) if int(lengths[0]) else None


@dataclass(frozen=True, slots=True)
class Limits:
    """Durations are in seconds, sizes in bytes."""

    connections: int
    head_bytes: int
    head_seconds: float
    hosts: frozenset[bytes] = frozenset()
    spare: int = 0
    """Connections beyond the limit, each for one health check; the newest replaces the oldest."""
    write_seconds: float = 30.0
    """Longest time a client may leave its answer unread."""
    linger_seconds: float = 2.0
    """Longest time a refused client may go on sending, so that it reads the refusal (RFC 9112 §9.6)."""
    methods: frozenset[bytes] | None = READING
    """Methods served with a body, besides GET and HEAD, which have none; None: all but CONNECT and TRACE."""
    body_bytes: int = 0
    body_seconds: float = 30.0
    """Longest time for a body, from the end of its head."""
    posted: Mapping[bytes, int] = field(default_factory=dict)
    """Paths where POST asks a question, whatever ``methods`` says, and the most bytes of its body there."""

    def bodies(self, method: bytes, target: bytes) -> tuple[Set[bytes] | None, int]:
        """The methods that may have a body at ``target``, as ``methods``, and the most bytes of ``method``'s."""
        if self.methods is None or not self.posted or path_of(target) not in self.posted:
            return self.methods, self.body_bytes
        most = self.posted[path_of(target)] if method == POST else self.body_bytes
        return self.methods | {POST}, most

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The public listener's limits by the settings."""
        passed = frozenset(method.upper().encode() for method in settings.pass_methods)
        return cls(
            connections=settings.max_connections,
            head_bytes=settings.head_max_bytes,
            head_seconds=settings.head_timeout,
            hosts=frozenset(host.lower().encode() for host in settings.public_hosts),
            methods=None if settings.profile == "generic" else READING | passed - NEVER,
            write_seconds=settings.send_timeout,
            body_bytes=settings.request_max_bytes,
            body_seconds=settings.body_timeout,
            posted={} if settings.profile == "generic" else _posted(settings.request_max_bytes),
        )


def _posted(most: int) -> Mapping[bytes, int]:
    """The most bytes of what is posted, by path: ``most`` for a question to the service, if that is not too much
    for one; for a job as much as a list of targets may have."""
    return dict.fromkeys(POSTED_PATHS, min(most, MOST_POSTED_BYTES)) | dict.fromkeys(JOB_PATHS, MOST_BYTES)
