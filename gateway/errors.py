"""Everything that can go wrong, once: one exception tree, one table from class to answer.

Third-party exceptions are mapped onto this tree at the edge where they occur and never travel further.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.redis_url import without_keys

Headers = list[tuple[bytes, bytes]]


class GatewayError(Exception):
    """The root. ``message`` is for the client to read and never holds a secret: a gateway key in it, be it that a
    message repeats what somebody pasted in the wrong place, is masked.

    ``data`` goes into the answer's ``data`` field; ``retry_after`` is in seconds and becomes ``Retry-After``;
    ``headers`` go along. ``forwarded`` says that the service was asked, as far as is known.
    """

    headers: Headers = []  # noqa: RUF012 (never changed in place)
    forwarded = False

    def __init__(self, message: str, *, data: Any = None, retry_after: float | None = None) -> None:
        self.message = without_keys(message)
        super().__init__(self.message)
        self.data = data
        self.retry_after = retry_after


class ConfigurationError(GatewayError):
    """The settings or the registry cannot be used; ``serve`` prints the message and exits with 2."""


class UnusableSettings(ConfigurationError):
    """The settings cannot be used, for each of the ``problems``; none of them shows a secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NoSuchRecord(ConfigurationError):
    """The registry has no such tenant, institution or key."""


class RecordExists(ConfigurationError):
    """The registry has such a tenant already."""


class RegistryReadOnly(ConfigurationError):
    """The registry's file cannot be written here."""


class RegistryUnavailable(ConfigurationError):
    """The registry, or the file of its encryption keys, cannot be read now, or is gone; it may be later."""


class RegistryDoubtful(ConfigurationError):
    """The registry has lost so much at once that it is not believed yet."""


class RegistryDisputed(ConfigurationError):
    """The registry gives one network to two tenants, so that calls from there are neither's."""


class AdminRefused(ConfigurationError):
    """The admin API of a running gateway did not do what a command asked."""


class AdminUnreachable(ConfigurationError):
    """No running gateway's admin API answers."""


class AdminDisabled(GatewayError):
    """The admin API has no token, and therefore answers nobody."""


class Refusal(GatewayError):
    """The client's request is not one that the gateway serves."""


class BadRequest(Refusal):
    """Not HTTP as it should be: its head, its Host, a body where none belongs."""


class BadTarget(Refusal):
    """A malformed request target; nothing is spent on it."""


class TargetTooLong(BadTarget):
    """A request target over the limit (RFC 9110 §15.5.15)."""


class MethodUnknown(Refusal):
    """A method that nothing here knows of (RFC 9110 §15.6.2)."""


class VersionUnsupported(Refusal):
    """A version of HTTP that is not spoken here (RFC 9110 §15.6.6)."""


class AmbiguousKey(Refusal):
    """More than one key, or one that cannot be read."""


class Unauthenticated(Refusal):
    """No key where one is needed, or one that is unknown or revoked."""


class AdminUnauthenticated(Refusal):
    """No admin token, or one that is unknown."""

    headers: Headers = [(b"www-authenticate", b'Bearer realm="stats-gateway admin"')]  # noqa: RUF012


class AdminTokenUnknown(AdminUnauthenticated):
    """An admin token that is none of ours: perhaps a guess."""


class AdminForbidden(Refusal):
    """An admin token that may only read, a Host that is not the admin listener's, or another origin's page."""


class InvalidInput(Refusal):
    """A body or parameter of the admin API that cannot be used."""


class NotFound(Refusal):
    """Nothing of the admin API's is there."""


class RateLimited(Refusal):
    """More requests than the caller's limit allows; ``headers`` tell of the limit, ``retry_after`` of the next."""

    def __init__(self, message: str, *, retry_after: float, headers: Headers | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers = headers or []


class Forbidden(Refusal):
    """Another institution's protected query; the body is the service's own."""


class MethodNotAllowed(Refusal):
    """A method that is not served; ``allow`` names those that are."""

    def __init__(self, message: str, *, allow: bytes = b"GET, HEAD") -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(Refusal):
    """A request body over the limit (RFC 9110 §15.5.14)."""


class CredentialRefused(Forbidden):
    """The service refuses the caller's credential; its scope is withheld until it succeeds again (decision 7)."""


class NotCached(Refusal):
    """Nothing stored answers a request that is only for what is (RFC 9111 §5.2.1.7)."""


class Misdirected(Refusal):
    """An absolute-form target whose authority is not ours (RFC 9110 §7.4)."""


class HeadTooLarge(Refusal):
    """A request head over the limit (RFC 6585 §5)."""


class HeadTimeout(Refusal):
    """A request head or body that did not end in time."""


class Overload(GatewayError):
    """The gateway cannot answer now; ``retry_after`` says when it could."""


class QueueFull(Overload):
    """As many jobs wait as may wait, in all or for this tenant."""


class DeadlineExceeded(Overload):
    """The caller waited as long as a caller may; the job keeps its place and runs."""


class TooManyConnections(Overload):
    """The listener's cap on connections is reached."""


class GateClosed(Overload):
    """The service seems to block us; ``retry_after`` says when it is asked again (decision 9)."""


class QueryPaused(Overload):
    """A query that is not asked for now; ``retry_after`` says when it may be."""


class TargetRefused(QueryPaused):
    """The service, or something in front of it, refused this very target a moment ago."""


class CallerPaused(QueryPaused):
    """Several different targets of this caller's were refused in a row."""


class SlowedDown(QueryPaused):
    """The service asked for fewer requests with this credential, or of this caller without one."""


class NotStarted(Overload):
    """The gateway's parts do not run yet, or could not be started."""


class CacheUnavailable(Overload):
    """Redis did not answer, and the request cannot go on without it."""


class UpstreamFailure(GatewayError):
    """The service could not be asked, or gave no usable answer."""

    forwarded = True


class UpstreamUnreachable(UpstreamFailure):
    """No connection: name, route, refusal or TLS."""

    forwarded = False


class UpstreamDisconnected(UpstreamFailure):
    """The connection ended before the answer did. ``kept`` says that it had brought answers before."""

    kept = False


class UpstreamProtocolError(UpstreamFailure):
    """The answer is not HTTP, or its content coding is broken."""


class ValidatorMismatch(UpstreamProtocolError):
    """A 304 that is about nothing we have: the answer has to be asked for whole (RFC 9111 §4.3.3)."""


class UpstreamRedirected(UpstreamFailure):
    """A redirect to elsewhere, where no client may carry its gateway key; ``place`` is for operators alone."""

    def __init__(self, message: str, *, retry_after: float | None = None, place: str = "") -> None:
        super().__init__(message, retry_after=retry_after)
        self.place = place


class UpstreamTooLarge(UpstreamFailure):
    """The answer is larger than the cap on bodies."""


class UpstreamTimeout(UpstreamFailure):
    """A connect, read, write, pool or total timeout."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a class of error looks like on the wire: status, code, and RFC 9209 §2.3 error type."""

    status: int
    code: str
    error: str


TABLE: dict[type[GatewayError], Row] = {
    GatewayError: Row(500, "GatewayInternalError", "proxy_internal_error"),
    ConfigurationError: Row(500, "GatewayMisconfigured", "proxy_configuration_error"),
    NoSuchRecord: Row(404, "GatewayNotFound", "http_request_error"),
    AdminDisabled: Row(503, "GatewayAdminDisabled", "http_request_denied"),
    AdminUnauthenticated: Row(401, "GatewayAdminUnauthenticated", "http_request_denied"),
    AdminForbidden: Row(403, "GatewayAdminForbidden", "http_request_denied"),
    InvalidInput: Row(400, "GatewayInvalidInput", "http_request_error"),
    NotFound: Row(404, "GatewayNotFound", "http_request_error"),
    RecordExists: Row(409, "GatewayConflict", "http_request_error"),
    RegistryReadOnly: Row(409, "GatewayRegistryReadOnly", "http_request_error"),
    RegistryUnavailable: Row(503, "GatewayRegistryUnavailable", "proxy_internal_error"),
    RateLimited: Row(429, "GatewayRateLimited", "http_request_denied"),
    BadRequest: Row(400, "GatewayBadRequest", "http_request_error"),
    BadTarget: Row(400, "GatewayBadTarget", "http_request_error"),
    AmbiguousKey: Row(400, "GatewayAmbiguousKey", "http_request_error"),
    Unauthenticated: Row(401, "GatewayUnauthenticated", "http_request_denied"),
    Forbidden: Row(403, "Forbidden", "http_request_denied"),
    MethodNotAllowed: Row(405, "GatewayMethodNotAllowed", "http_request_denied"),
    HeadTimeout: Row(408, "GatewayHeadTimeout", "http_request_error"),
    BodyTooLarge: Row(413, "GatewayBodyTooLarge", "http_request_error"),
    TargetTooLong: Row(414, "GatewayTargetTooLong", "http_request_error"),
    Misdirected: Row(421, "GatewayMisdirected", "http_request_error"),
    HeadTooLarge: Row(431, "GatewayHeadTooLarge", "http_request_error"),
    Overload: Row(503, "GatewayOverloaded", "connection_limit_reached"),
    QueueFull: Row(503, "GatewayQueueFull", "connection_limit_reached"),
    DeadlineExceeded: Row(503, "GatewayDeadlineExceeded", "connection_limit_reached"),
    TooManyConnections: Row(503, "GatewayTooManyConnections", "connection_limit_reached"),
    GateClosed: Row(503, "GatewayGateClosed", "destination_unavailable"),
    TargetRefused: Row(503, "GatewayTargetRefused", "destination_unavailable"),
    CallerPaused: Row(503, "GatewayCallerPaused", "http_request_denied"),
    SlowedDown: Row(503, "GatewaySlowedDown", "destination_unavailable"),
    NotStarted: Row(503, "GatewayNotStarted", "proxy_internal_error"),
    CacheUnavailable: Row(503, "GatewayCacheUnavailable", "proxy_internal_error"),
    MethodUnknown: Row(501, "GatewayMethodUnknown", "http_request_denied"),
    VersionUnsupported: Row(505, "GatewayVersionUnsupported", "http_protocol_error"),
    UpstreamFailure: Row(502, "GatewayUpstreamFailed", "destination_unavailable"),
    UpstreamUnreachable: Row(502, "GatewayUpstreamUnreachable", "destination_unavailable"),
    UpstreamDisconnected: Row(502, "GatewayUpstreamDisconnected", "connection_terminated"),
    UpstreamProtocolError: Row(502, "GatewayUpstreamInvalid", "http_protocol_error"),
    ValidatorMismatch: Row(502, "GatewayUpstreamInvalid", "http_protocol_error"),
    UpstreamRedirected: Row(502, "GatewayUpstreamRedirected", "destination_unavailable"),
    UpstreamTooLarge: Row(502, "GatewayUpstreamTooLarge", "http_response_body_size"),
    NotCached: Row(504, "GatewayNotCached", "http_request_denied"),
    UpstreamTimeout: Row(504, "GatewayUpstreamTimeout", "http_response_timeout"),
}

FORBIDDEN_BODY = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
"""The service's documented 403, word for word (contract page, Errors)."""

JSON_TYPE = b"application/json; charset=UTF-8"


def row_of(error: GatewayError) -> Row:
    """The table's row for an error: its class's, else its nearest ancestor's."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def render(error: GatewayError) -> tuple[int, Headers, bytes]:
    """An error as (status, headers, body) in the service's shape, with ``Proxy-Status`` (RFC 9209).

    A 401 also carries its challenge (RFC 9110 §11.6.1), a 405 its ``Allow`` (§10.2.1), and any error that
    knows when to come back its ``Retry-After`` (§10.2.3), rounded up to whole seconds.
    """
    row = row_of(error)
    headers: Headers = [
        (b"content-type", JSON_TYPE),
        (b"proxy-status", f"stats-gateway; error={row.error}; details={_sf_string(row.code)}".encode()),
        (b"cache-control", b"no-store"),
    ]
    headers += error.headers
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Basic realm="stats-gateway"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow))
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if isinstance(error, Forbidden):
        return row.status, headers, FORBIDDEN_BODY
    body = json.dumps({"message": error.message, "code": row.code, "data": error.data})
    return row.status, headers, body.encode()


def _sf_string(text: str) -> str:
    """A structured-field string (RFC 8941 §3.3.3); anything outside printable ASCII becomes ``?``."""
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
