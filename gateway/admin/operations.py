"""The admin API's operations as values, its routes and OpenAPI document made of them, and the audit log."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from gateway.admin.auth import NOBODY, Admin, AdminTokens
from gateway.admin.sessions import Authenticator
from gateway.errors import (
    JSON_TYPE,
    AdminTokenUnknown,
    ConfigurationError,
    GatewayError,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    render,
)
from gateway.jobs.api import ID as JOB_ID
from gateway.observe.logs import AUDIT
from gateway.redis_url import MASK
from gateway.tenants.schema import INSTITUTION, TENANT_ID, check_no_key
from gateway.tenants.tenant import KEY_ID, id_within

log = structlog.get_logger("gateway")
audit = structlog.get_logger(AUDIT)
PUBLIC = {
    "tenant": TENANT_ID,
    "institution": INSTITUTION,
    "key": KEY_ID,
    "job": JOB_ID,
    "fingerprint": re.compile(r"[0-9a-f]{64}"),
    "call": re.compile(r"[0-9A-Za-z.]{1,120}"),
}
"""What a path's values must look like to be logged: people paste secrets in the wrong place."""


class Parameter(NamedTuple):
    """A query parameter's description; ``format`` is one of JSON Schema's."""

    text: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One use of an operation.

    ``facts`` go into the audit log beside the path's values: what was made or covered, never a secret.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    admin: Admin
    facts: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. The handler's qualified name becomes the ``operationId``.

    A change needs a token that may change things, and is written to the audit log; so is an operation that
    ``reveals`` a tenant's own numbers.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    query: Mapping[str, Parameter] = field(default_factory=dict)
    body: type[msgspec.Struct] | None = None
    status: int = 200
    reveals: bool = False

    @property
    def changes(self) -> bool:
        """Whether it does more than read."""
        return self.method != "GET" and not self.path.endswith("/preview")

    @property
    def acts(self) -> bool:
        """Whether it changes something, or asks the service at a tenant's expense."""
        return self.changes or self.reveals


# The audit log


@dataclass(slots=True)
class AuditRecord:
    """What a line of the audit log will say; ``admin`` is known once the request is authenticated."""

    facts: dict[str, Any]
    admin: Admin = NOBODY


@contextmanager
def audited(operation: Operation, path: Mapping[str, Any], address: str = "") -> Iterator[AuditRecord]:
    """Write one audit line for an operation that acts, done or refused, and for a wrong token from ``address``."""
    record, status, wanted = AuditRecord(_loggable(path)), 500, operation.acts
    try:
        yield record
        status = operation.status
    except GatewayError as error:
        status = error.status
        if is_guess(error):
            wanted = True
            record.facts["address"] = address
        raise
    finally:
        if wanted:
            write_audit(record.admin, f"{operation.method} {operation.path}", record.facts, status)


def is_guess(error: GatewayError) -> bool:
    """Whether it refuses a wrong admin token, or one more from an address that sent too many."""
    return isinstance(error, AdminTokenUnknown | RateLimited)


def write_audit(admin: Admin, operation: str, facts: Mapping[str, Any], status: int) -> None:
    """Write a line to the audit log, whatever the level of the other logs."""
    audit.info("audit", admin=admin.name, operation=operation, on=facts, status=status)


def _loggable(path: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if PUBLIC[name].fullmatch(value) and id_within(value) is None else MASK
        for name, value in path.items()
    }


# From request to response


def endpoint(operation: Operation, auth: Authenticator) -> Callable[[Request], Awaitable[Response]]:
    """The operation as a Starlette endpoint; every error becomes a response in the service's shape."""

    async def answer(request: Request) -> Response:
        try:
            with audited(operation, request.path_params, auth.visitors.address(request)) as record:
                record.admin = await auth.admit(request, changes=operation.changes, acts=operation.acts)
                query, body = _query(operation, request), await _body(operation, request)
                call = Call(request.path_params, query, body, record.admin, record.facts)
                result = await perform(operation, call)
            content = b"" if operation.status == 204 else msgspec.json.encode(result, enc_hook=str)
            return Response(content, operation.status, {"cache-control": "no-store"}, JSON_TYPE.decode())
        except GatewayError as error:
            return error_response(error)
        except Exception:
            log.exception("internal_error", operation=f"{operation.method} {operation.path}")
            return error_response(GatewayError("The gateway failed on this request; its log says why."))

    return answer


async def perform(operation: Operation, call: Call) -> Any:
    """The handler's result. Raises GatewayError.

    What a registry refuses of the input is the caller's fault, not the configuration's: InvalidInput.
    """
    try:
        refuse_keys((*call.path.items(), *call.query.items()))
        return await operation.handler(call)
    except ConfigurationError as error:
        if type(error) is ConfigurationError:
            raise InvalidInput(error.message) from None
        raise


def refuse_keys(given: Iterable[tuple[str, str]]) -> None:
    """Raises InvalidInput for a gateway key among names and values: other people see them."""
    try:
        for name, text in given:
            check_no_key(name, "the name of a field")
            check_no_key(text, f"the {name}")
    except ConfigurationError as error:
        raise InvalidInput(error.message) from None


def error_response(error: GatewayError) -> Response:
    """An error as the admin API's response."""
    status, headers, body = render(error)
    response = Response(body, status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response


async def read_body(request: Request) -> bytes:
    """A request's body. Raises InvalidInput where the client hangs up before its end."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise InvalidInput("The body broke off") from None


def _query(operation: Operation, request: Request) -> Mapping[str, str]:
    given = request.query_params.multi_items()
    refuse_keys(given)
    found = dict(given)
    if len(found) != len(given):
        raise InvalidInput("A parameter is given more than once")
    for name in found:
        if name not in operation.query:
            raise InvalidInput(
                f"There is no parameter {name!r} here; there are: {', '.join(operation.query) or 'none'}"
            )
    return found


async def _body(operation: Operation, request: Request) -> Any:
    content = await read_body(request)
    if operation.body is None:
        if content:
            raise InvalidInput("This takes no body")
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidInput("The body must be application/json")
    try:
        return msgspec.json.decode(content, type=operation.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The message names the field and the kind of fault, never a value.
        raise InvalidInput(f"The body cannot be used: {error}") from None


# The OpenAPI document


def openapi(version: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """The API's OpenAPI 3.1 document: ``openapi.json`` with the paths and bodies of these operations."""
    document: dict[str, Any] = msgspec.json.decode((files("gateway.admin") / "openapi.json").read_bytes())
    document["info"]["version"] = version
    bodies = [each.body for each in operations if each.body is not None]
    _, schemas = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    document["components"]["schemas"] |= schemas
    errors = {each: {"$ref": f"#/components/responses/{each}"} for each in document["components"]["responses"]}
    for each in operations:
        document["paths"].setdefault(each.path, {})[each.method.lower()] = _described(each, errors)
    return document


def _described(operation: Operation, errors: Mapping[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "done"}
    if operation.status != 204:
        done["content"] = {"application/json": {"schema": {"type": "object"}}}
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__qualname__.replace("Api.", "_").lower(),
        "responses": {str(operation.status): done, **errors},
    }
    in_path = [_parameter(name, "path") for name in re.findall(r"{(\w+)}", operation.path)]
    if parameters := in_path + [_parameter(name, "query", *each) for name, each in operation.query.items()]:
        found["parameters"] = parameters
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _parameter(name: str, place: str, text: str = "", form: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if form is None else {"type": "string", "format": form}
    found: dict[str, Any] = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return found | ({"description": text} if text else {})


# Routes

Routed = TypeVar("Routed", bound=Starlette)
Endpoint = Callable[[Request], Awaitable[Response]]
Misplaced = Callable[[Request, GatewayError], Awaitable[Response]]


def routes(auth: Authenticator, operations: Sequence[Operation]) -> list[Route]:
    """The API's routes, one for each path."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for each in operations:
        by_path.setdefault(each.path, {})[each.method] = endpoint(each, auth)
    return [Route(path, _by_method(methods), methods=list(methods)) for path, methods in by_path.items()]


def scraped(auth: Authenticator, render: Callable[[bool], bytes], kind: str, *, public: bool) -> Endpoint:
    """The metrics endpoint. ``render`` takes whether to name tenants: to requests with an admin token or a
    session, to all where they are ``public``, and where no admin token is configured."""

    async def answer(request: Request) -> Response:
        try:
            auth.tokens.check_host(request.headers.raw)
            named = public or not auth.tokens.enabled or await auth.knows(request)
        except GatewayError as error:
            if is_guess(error):
                write_audit(NOBODY, "GET /metrics", {"address": auth.visitors.address(request)}, error.status)
            return error_response(error)
        return Response(render(named), headers={"content-type": kind})

    return answer


def guarded(tokens: AdminTokens, answer: Endpoint) -> Endpoint:
    """An endpoint that needs no token, but one of the listener's own Hosts."""

    async def checked(request: Request) -> Response:
        try:
            tokens.check_host(request.headers.raw)
        except GatewayError as error:
            return error_response(error)
        return await answer(request)

    return checked


async def plainly(_: Request, error: GatewayError) -> Response:
    """An error in the service's shape, whoever asked."""
    return error_response(error)


def exactly(app: Routed, docs: str, answer: Misplaced = plainly) -> Routed:
    """The app with 404 and 405 answered by ``answer``, in the service's shape by default, with a hint to ``docs``.

    It never redirects to a path with or without a final slash: that would repeat the request's Host.
    """

    async def out_of_place(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            return await answer(
                request, MethodNotAllowed("This method is not served here", allow=allowed(app, request))
            )
        return await answer(request, NotFound(f"There is nothing here; see {docs}"))

    for status in (404, 405):
        app.add_exception_handler(status, out_of_place)
    app.router.redirect_slashes = False
    return app


def allowed(app: Starlette, request: Request) -> bytes:
    """The methods served at a request's path, by all routes together (RFC 9110 §10.2.1)."""
    here = [
        each for each in app.routes if isinstance(each, Route) and each.matches(request.scope)[0] is Match.PARTIAL
    ]
    return ", ".join(sorted({method for each in here for method in each.methods or ()})).encode()


def _by_method(methods: dict[str, Endpoint]) -> Endpoint:
    async def answer(request: Request) -> Response:
        # Starlette routes HEAD wherever it routes GET.
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
