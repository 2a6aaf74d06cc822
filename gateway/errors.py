"""The exception tree, and how each error is answered.

Third-party exceptions are mapped onto this tree at the edge where they occur and never travel further.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gateway.redis_url import without_keys

Headers = list[tuple[bytes, bytes]]


class GatewayError(Exception):
    """The root of the tree. Each class has its ``status``, its ``code`` in the body, and the error type that
    ``Proxy-Status`` names (RFC 9209 §2.3), or inherits them.

    ``message`` is for the client to read and never holds a secret: a gateway key in it, such as one pasted in the
    wrong place, is masked. ``data`` goes into the body's ``data`` field; ``retry_after``, in seconds, becomes
    ``Retry-After``; ``headers`` are added. ``forwarded``: the service was asked, as far as is known.
    """

    status = 500
    code = "GatewayInternalError"
    proxy_status = "proxy_internal_error"
    headers: Headers = []  # noqa: RUF012 (never changed in place)
    forwarded = False

    def __init_subclass__(cls, *, status: int = 0, code: str = "", proxy_status: str = "") -> None:
        cls.status = status or cls.status
        cls.code = code or cls.code
        cls.proxy_status = proxy_status or cls.proxy_status

    def __init__(self, message: str, *, data: Any = None, retry_after: float | None = None) -> None:
        self.message = without_keys(message)
        super().__init__(self.message)
        self.data = data
        self.retry_after = retry_after


class ConfigurationError(GatewayError, code="GatewayMisconfigured", proxy_status="proxy_configuration_error"):
    """The settings or the registry cannot be used; ``serve`` prints the message and exits with 2."""


@contextmanager
def located(place: str) -> Iterator[None]:
    """Begin the message of a ConfigurationError with the place that it is about."""
    try:
        yield
    except ConfigurationError as error:
        raise type(error)(f"{place}: {error.message}") from None


class UnusableSettings(ConfigurationError):
    """The settings cannot be used, for each of the ``problems``; none of them shows a secret."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class NoSuchRecord(ConfigurationError, status=404, code="GatewayNotFound", proxy_status="http_request_error"):
    """The registry has no such tenant, institution or key."""


class RecordExists(ConfigurationError, status=409, code="GatewayConflict", proxy_status="http_request_error"):
    """The registry has such a tenant already."""


class RegistryReadOnly(
    ConfigurationError, status=409, code="GatewayRegistryReadOnly", proxy_status="http_request_error"
):
    """The registry's file cannot be written here."""


class RegistryUnavailable(
    ConfigurationError, status=503, code="GatewayRegistryUnavailable", proxy_status="proxy_internal_error"
):
    """The registry, or the file of its encryption keys, cannot be read now, or is gone; it may be later."""


class RegistryDoubtful(ConfigurationError):
    """The registry has lost so much at once that it is not believed yet."""


class RegistryDisputed(ConfigurationError):
    """The registry gives one network to two tenants, so that calls from there are neither's."""


class AdminRefused(ConfigurationError):
    """The admin API of a running gateway did not do what a command asked."""


class AdminUnreachable(ConfigurationError):
    """No running gateway's admin API answers."""


class AdminDisabled(GatewayError, status=503, code="GatewayAdminDisabled", proxy_status="http_request_denied"):
    """The admin API has no token, and therefore answers nobody."""


class Refusal(GatewayError, status=400, proxy_status="http_request_error"):
    """The client's request is not one that the gateway serves."""


class BadRequest(Refusal, code="GatewayBadRequest"):
    """Malformed HTTP: the head, the Host, or an unexpected body."""


class BadTarget(Refusal, code="GatewayBadTarget"):
    """A malformed request target; nothing is spent on it."""


class TargetTooLong(BadTarget, status=414, code="GatewayTargetTooLong"):
    """A request target over the limit (RFC 9110 §15.5.15)."""


class MethodUnknown(Refusal, status=501, code="GatewayMethodUnknown", proxy_status="http_request_denied"):
    """An unknown method (RFC 9110 §15.6.2)."""


class VersionUnsupported(
    Refusal, status=505, code="GatewayVersionUnsupported", proxy_status="http_protocol_error"
):
    """An unsupported version of HTTP (RFC 9110 §15.6.6)."""


class AmbiguousKey(Refusal, code="GatewayAmbiguousKey"):
    """More than one key, or one that cannot be read."""


class Unauthenticated(Refusal, status=401, code="GatewayUnauthenticated", proxy_status="http_request_denied"):
    """No key where one is needed, or one that is unknown or revoked."""


class AdminUnauthenticated(
    Refusal, status=401, code="GatewayAdminUnauthenticated", proxy_status="http_request_denied"
):
    """No admin token, or one that is unknown."""

    headers: Headers = [(b"www-authenticate", b'Bearer realm="stats-gateway admin"')]  # noqa: RUF012


class AdminTokenUnknown(AdminUnauthenticated):
    """An unknown admin token, perhaps a guess."""


class AdminForbidden(Refusal, status=403, code="GatewayAdminForbidden", proxy_status="http_request_denied"):
    """An admin token that may only read, a Host that is not the admin listener's, or another origin's page."""


class InvalidInput(Refusal, code="GatewayInvalidInput"):
    """A body or parameter of the admin API that cannot be used."""


class NotFound(Refusal, status=404, code="GatewayNotFound"):
    """No such resource in the admin API."""


class RateLimited(Refusal, status=429, code="GatewayRateLimited", proxy_status="http_request_denied"):
    """More requests than the caller's limit allows; ``headers`` are its RateLimit fields."""

    def __init__(self, message: str, *, retry_after: float, headers: Headers | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.headers = headers or []


class TooManyJobs(Refusal, status=429, code="GatewayTooManyJobs", proxy_status="http_request_denied"):
    """More jobs at once than a tenant may have, or more kept of them."""


class Forbidden(Refusal, status=403, code="Forbidden", proxy_status="http_request_denied"):
    """Another institution's protected query; the body is the service's own."""


class MethodNotAllowed(Refusal, status=405, code="GatewayMethodNotAllowed", proxy_status="http_request_denied"):
    """A method that is not served; ``allow`` names those that are."""

    def __init__(self, message: str, *, allow: bytes = b"GET, HEAD") -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(Refusal, status=413, code="GatewayBodyTooLarge"):
    """A request body over the limit (RFC 9110 §15.5.14)."""


class CredentialRefused(Forbidden):
    """The service refuses the caller's credential; its scope is withheld until it succeeds again
    (docs/decisions.md, 7)."""


class AnswerPurged(Refusal, status=410, code="GatewayAnswerPurged", proxy_status="http_request_denied"):
    """What a job keeps was purged since it was asked for."""


class NotCached(Refusal, status=504, code="GatewayNotCached", proxy_status="http_request_denied"):
    """An ``only-if-cached`` request without a stored answer (RFC 9111 §5.2.1.7)."""


class Misdirected(Refusal, status=421, code="GatewayMisdirected"):
    """An absolute-form target whose authority is not ours (RFC 9110 §7.4)."""


class HeadTooLarge(Refusal, status=431, code="GatewayHeadTooLarge"):
    """A request head over the limit (RFC 6585 §5)."""


class HeadTimeout(Refusal, status=408, code="GatewayHeadTimeout"):
    """A request head or body that did not end in time."""


class Overload(GatewayError, status=503, code="GatewayOverloaded", proxy_status="connection_limit_reached"):
    """The gateway cannot answer now; ``retry_after`` says when it could."""


class QueueFull(Overload, code="GatewayQueueFull"):
    """The queue is full, in all or for this tenant."""


class DeadlineExceeded(Overload, code="GatewayDeadlineExceeded"):
    """The caller's time is over; the queued call keeps its place and runs."""


class TooManyConnections(Overload, code="GatewayTooManyConnections"):
    """The listener's cap on connections is reached."""


class GateClosed(Overload, code="GatewayGateClosed", proxy_status="destination_unavailable"):
    """The service seems to block us; ``retry_after`` says when it is asked again (docs/decisions.md, 9)."""


class QueryPaused(Overload):
    """A query that may not go upstream now; ``retry_after`` says when."""


class TargetRefused(QueryPaused, code="GatewayTargetRefused", proxy_status="destination_unavailable"):
    """The service, or something in front of it, refused this very target a moment ago."""


class CallerPaused(QueryPaused, code="GatewayCallerPaused", proxy_status="http_request_denied"):
    """Several different targets of this caller's were refused in a row."""


class SlowedDown(QueryPaused, code="GatewaySlowedDown", proxy_status="destination_unavailable"):
    """The service asked for fewer requests with this credential, or of this caller without one."""


class NotStarted(Overload, code="GatewayNotStarted", proxy_status="proxy_internal_error"):
    """The gateway's parts do not run yet, or could not be started."""


class CacheUnavailable(Overload, code="GatewayCacheUnavailable", proxy_status="proxy_internal_error"):
    """Redis did not answer, and the request cannot go on without it."""


class UpstreamFailure(
    GatewayError, status=502, code="GatewayUpstreamFailed", proxy_status="destination_unavailable"
):
    """The service could not be asked, or gave no usable answer."""

    forwarded = True


class UpstreamUnreachable(UpstreamFailure, code="GatewayUpstreamUnreachable"):
    """No connection: name, route, refusal or TLS."""

    forwarded = False


class UpstreamDisconnected(
    UpstreamFailure, code="GatewayUpstreamDisconnected", proxy_status="connection_terminated"
):
    """The connection ended before the answer did. ``kept``: it had carried answers before."""

    kept = False


class UpstreamProtocolError(UpstreamFailure, code="GatewayUpstreamInvalid", proxy_status="http_protocol_error"):
    """The answer is not HTTP, or its content coding is broken."""


class ValidatorMismatch(UpstreamProtocolError):
    """A 304 for no stored answer: a full one has to be fetched (RFC 9111 §4.3.3)."""


class UpstreamRedirected(UpstreamFailure, code="GatewayUpstreamRedirected"):
    """A redirect elsewhere, to which no client may send its gateway key; ``place`` is for operators alone."""

    def __init__(self, message: str, *, retry_after: float | None = None, place: str = "") -> None:
        super().__init__(message, retry_after=retry_after)
        self.place = place


class UpstreamTooLarge(UpstreamFailure, code="GatewayUpstreamTooLarge", proxy_status="http_response_body_size"):
    """The answer is larger than the cap on bodies."""


class UpstreamTimeout(
    UpstreamFailure, status=504, code="GatewayUpstreamTimeout", proxy_status="http_response_timeout"
):
    """A connect, read, write, pool or total timeout."""


CLASSES = {
    name: each for name, each in globals().items() if isinstance(each, type) and issubclass(each, GatewayError)
}
"""Every class by its name, under which a flight's failure travels between processes."""

FORBIDDEN_BODY = b'{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
"""The service's documented 403, word for word (docs/service.md, Errors)."""

JSON_TYPE = b"application/json; charset=UTF-8"


def render(error: GatewayError) -> tuple[int, Headers, bytes]:
    """An error as (status, headers, body) in the service's shape, with ``Proxy-Status`` (RFC 9209).

    A 401 also carries its challenge (RFC 9110 §11.6.1), a 405 its ``Allow`` (§10.2.1), and any error that
    knows when to come back its ``Retry-After`` (§10.2.3), rounded up to whole seconds.
    """
    headers: Headers = [
        (b"content-type", JSON_TYPE),
        (b"proxy-status", f"stats-gateway; error={error.proxy_status}; details={_sf_string(error.code)}".encode()),
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
        return error.status, headers, FORBIDDEN_BODY
    body = json.dumps({"message": error.message, "code": error.code, "data": error.data})
    return error.status, headers, body.encode()


def _sf_string(text: str) -> str:
    """A structured-field string (RFC 8941 §3.3.3); anything outside printable ASCII becomes ``?``."""
    safe = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
