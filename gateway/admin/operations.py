"""Operations: what the admin API can do, as values; routes and the API's description are made of them.

The admin API's description, made of its operations (OpenAPI 3.1). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.admin.auth import NOBODY, Admin
from gateway.admin.sessions import Entrance
from gateway.errors import (
    JSON_TYPE,
    AdminTokenUnknown,
    ConfigurationError,
    GatewayError,
    InvalidInput,
    RateLimited,
    render,
    row_of,
)
from gateway.observe.logs import AUDIT
from gateway.redis_url import MASK
from gateway.tenants.keys import KEY_ID, id_within
from gateway.tenants.schema import INSTITUTION, TENANT_ID, check_no_key

log = structlog.get_logger("gateway")
audit = structlog.get_logger(AUDIT)
PUBLIC = {
    "tenant": TENANT_ID,
    "institution": INSTITUTION,
    "key": KEY_ID,
    "fingerprint": re.compile(r"[0-9a-f]{64}"),
}
"""What a value in a path looks like where it may be repeated: people paste secrets in the wrong place."""


class Parameter(NamedTuple):
    """A parameter of the query, as it is described; ``format`` as JSON Schema names formats."""

    text: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One use of an operation: the path's and the query's values, the body where there is one, and by whom.

    ``facts`` go into the audit log, beside what the path says: what was made or covered, never a secret.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    admin: Admin
    facts: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. ``query`` describes its parameters, ``body`` is the struct that it takes;
    what ``changes`` something needs a token that may, and is written to the audit log; so is what ``reveals``
    a tenant's own numbers."""

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
        """Whether it does more than tell."""
        return self.method != "GET" and not self.path.endswith("/preview")

    @property
    def acts(self) -> bool:
        """Whether it does anything: changes something, or asks the service at a tenant's expense."""
        return self.changes or self.reveals

    @property
    def path_parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)


def endpoint(operation: Operation, entrance: Entrance) -> Callable[[Request], Awaitable[Response]]:
    """The operation as Starlette calls it: whatever goes wrong is answered in the service's shape."""

    async def answer(request: Request) -> Response:
        try:
            with audited(operation, request.path_params, entrance.visitors.address(request)) as line:
                line.admin = await entrance.admit(request, changes=operation.changes, acts=operation.acts)
                query, body = _query(operation, request), await _body(operation, request)
                call = Call(request.path_params, query, body, line.admin, line.facts)
                result = await carried_out(operation, call)
            content = b"" if operation.status == 204 else msgspec.json.encode(result, enc_hook=str)
            return Response(content, operation.status, {"cache-control": "no-store"}, JSON_TYPE.decode())
        except GatewayError as error:
            return refused(error)
        except Exception:
            log.exception("internal_error", operation=f"{operation.method} {operation.path}")
            return refused(GatewayError("The gateway failed on this request; its log says why."))

    return answer


async def carried_out(operation: Operation, call: Call) -> Any:
    """What the operation answers; what a registry refuses of the input is the caller's fault, not the
    configuration's. Raises GatewayError."""
    try:
        refuse_keys((*call.path.items(), *call.query.items()))
        return await operation.handler(call)
    except ConfigurationError as error:
        if type(error) is ConfigurationError:
            raise InvalidInput(error.message) from None
        raise


def refuse_keys(given: Iterable[tuple[str, str]]) -> None:
    """Raises InvalidInput for a gateway key among names and values: what is done with them is shown to others."""
    try:
        for name, text in given:
            check_no_key(name, "the name of a field")
            check_no_key(text, f"the {name}")
    except ConfigurationError as error:
        raise InvalidInput(error.message) from None


@dataclass(slots=True)
class Line:
    """A line of the audit log to be: by whom, and what it was about."""

    facts: dict[str, Any]
    admin: Admin = NOBODY


@contextmanager
def audited(operation: Operation, path: Mapping[str, Any], address: str = "") -> Iterator[Line]:
    """One line for each change, each look at what is a tenant's, and each wrong token, which came from
    ``address``; done or refused, whatever the level of the log."""
    line, status, wanted = Line(_places(path)), 500, operation.acts
    try:
        yield line
        status = operation.status
    except GatewayError as error:
        status = row_of(error).status
        if is_guess(error):
            wanted = True
            line.facts["address"] = address
        raise
    finally:
        if wanted:
            write_audit(line.admin, f"{operation.method} {operation.path}", line.facts, status)


def is_guess(error: GatewayError) -> bool:
    """Whether it refuses a wrong admin token, or one more of an address that sent too many."""
    return isinstance(error, AdminTokenUnknown | RateLimited)


def write_audit(admin: Admin, operation: str, facts: Mapping[str, Any], status: int) -> None:
    """A line of the audit log."""
    audit.info("audit", admin=admin.name, operation=operation, on=facts, status=status)


def refused(error: GatewayError) -> Response:
    """An error as an answer of the admin API."""
    status, headers, body = render(error)
    response = Response(body, status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response


def _query(operation: Operation, request: Request) -> Mapping[str, str]:
    refuse_keys(request.query_params.multi_items())
    found = dict(request.query_params)
    if len(found) != len(request.query_params.multi_items()):
        raise InvalidInput("A parameter is given more than once")
    for name in found:
        if name not in operation.query:
            raise InvalidInput(
                f"There is no parameter {name!r} here; there are: {', '.join(operation.query) or 'none'}"
            )
    return found


async def received(request: Request) -> bytes:
    """A request's body. Raises InvalidInput where the client hangs up before its end."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise InvalidInput("The body broke off") from None


async def _body(operation: Operation, request: Request) -> Any:
    content = await received(request)
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
        # The message tells the place and the kind of the fault: the name of a field, never a value.
        raise InvalidInput(f"The body cannot be used: {error}") from None


def _places(path: Mapping[str, Any]) -> dict[str, Any]:
    """The values in a path, as far as they look like what belongs there."""
    return {
        name: value if PUBLIC[name].fullmatch(value) and id_within(value) is None else MASK
        for name, value in path.items()
    }


ERROR = {
    "type": "object",
    "required": ["message", "code", "data"],
    "properties": {"message": {"type": "string"}, "code": {"type": "string"}, "data": {}},
}
ERRORS = {
    "400": "what was sent cannot be used",
    "401": "no admin token, or an unknown one",
    "403": "a token that may only read, or a Host that is not this listener's",
    "404": "no such thing",
    "409": "it exists already, or the registry is read-only",
    "413": "a body over 64 KiB",
    "503": "the API has no token, or Redis does not answer",
}


def document(title: str, version: str, description: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    bodies = [each.body for each in operations if each.body is not None]
    _, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__qualname__.replace("Api.", "_").lower(),
        "responses": _responses(operation),
    }
    in_path = [_parameter(name, "path") for name in operation.path_parameters]
    parameters = in_path + [_parameter(name, "query", *each) for name, each in operation.query.items()]
    if parameters:
        found["parameters"] = parameters
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body.__name__}"}
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "done"}
    if operation.status != 204:
        good["content"] = {"application/json": {"schema": {"type": "object"}}}
    wrong = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": wrong} for status, text in ERRORS.items()}
    return {str(operation.status): good, **errors}


def _parameter(name: str, place: str, text: str = "", form: str | None = None) -> dict[str, Any]:
    schema = {"type": "string"} if form is None else {"type": "string", "format": form}
    found: dict[str, Any] = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return found | ({"description": text} if text else {})
