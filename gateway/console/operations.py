"""Operations: what the admin API can do, as values; routes and the API's description are made of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.console.guard import Admin, Guard
from gateway.errors import (
    JSON_TYPE,
    ConfigurationError,
    GatewayError,
    InvalidInput,
    render,
)
from gateway.masking import MASK
from gateway.observe.logs import AUDIT
from gateway.tenants.keys import KEY_ID, parse
from gateway.tenants.tables import INSTITUTION, TENANT_ID

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
    what ``changes`` something needs a token that may, and is written to the audit log."""

    method: str
    path: str
    summary: str
    handler: Handler
    query: Mapping[str, Parameter] = field(default_factory=dict)
    body: type[msgspec.Struct] | None = None
    status: int = 200

    @property
    def changes(self) -> bool:
        """Whether it does more than tell."""
        return self.method != "GET" and not self.path.endswith("/preview")

    @property
    def path_parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)


def endpoint(operation: Operation, guard: Guard) -> Callable[[Request], Awaitable[Response]]:
    """The operation as Starlette calls it: whatever goes wrong is answered in the service's shape."""

    async def answer(request: Request) -> Response:
        admin, facts = Admin("nobody", ""), _places(request)
        try:
            guard.check_host(request.headers.raw)
            admin = guard.admit(request.headers.raw, changes=operation.changes)
            call = Call(
                request.path_params, _query(operation, request), await _body(operation, request), admin, facts
            )
            result = await _meaning(operation.handler(call))
            response = Response(
                b"" if operation.status == 204 else msgspec.json.encode(result, enc_hook=str),
                operation.status,
                {"cache-control": "no-store"},
                JSON_TYPE.decode(),
            )
        except GatewayError as error:
            response = refused(error)
        except Exception:
            log.exception("internal_error", operation=f"{operation.method} {operation.path}")
            response = refused(GatewayError("The gateway failed on this request; its log says why."))
        if operation.changes:
            _audit(operation, facts, admin, response.status_code)
        return response

    return answer


def refused(error: GatewayError) -> Response:
    """An error as an answer of the admin API."""
    status, headers, body = render(error)
    response = Response(body, status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response


async def _meaning(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except ConfigurationError as error:
        if type(error) is ConfigurationError:
            raise InvalidInput(error.message) from None
        raise


def _query(operation: Operation, request: Request) -> Mapping[str, str]:
    found = dict(request.query_params)
    if len(found) != len(request.query_params.multi_items()):
        raise InvalidInput("A parameter is given more than once")
    for name in found:
        if name not in operation.query:
            raise InvalidInput(
                f"There is no parameter {name!r} here; there are: {', '.join(operation.query) or 'none'}"
            )
    return found


async def _body(operation: Operation, request: Request) -> Any:
    try:
        content = await request.body()
    except ClientDisconnect:
        raise InvalidInput("The body broke off") from None
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
        # The message tells the place and the kind of the fault, never a value.
        raise InvalidInput(f"The body cannot be used: {error}") from None


def _audit(operation: Operation, facts: Mapping[str, Any], admin: Admin, status: int) -> None:
    """One line for each change, done or refused, whatever the level of the log."""
    audit.info(
        "audit",
        admin=admin.name,
        operation=f"{operation.method} {operation.path}",
        on=facts,
        status=status,
    )


def _places(request: Request) -> dict[str, Any]:
    """The values in a path, as far as they look like what belongs there."""
    found = request.path_params.items()
    return {
        name: value if PUBLIC[name].fullmatch(value) and parse(value) is None else MASK for name, value in found
    }
