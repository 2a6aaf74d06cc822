"""What the console's pages share: access checks, forms, flash messages, templates, static files, docs pages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import msgspec
import structlog
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.auth import Admin, AdminTokens
from gateway.admin.operations import (
    Call,
    Endpoint,
    Operation,
    audited,
    error_response,
    guarded,
    perform,
    read_body,
    refuse_keys,
    write_audit,
)
from gateway.admin.sessions import Authenticator, Session, is_csrf
from gateway.admin.web.format import FILTERS, bar, ratio
from gateway.admin.web.forms import Files, Form, read_sent
from gateway.errors import AdminDisabled, AdminForbidden, GatewayError, InvalidInput, render

NAVIGATION = (
    ("/", "Overview", "/api/overview"),
    ("/tenants", "Tenants", "/api/tenants"),
    ("/queue", "Queue", "/api/queue"),
    ("/cache", "Cache", "/api/explain"),
    ("/explore", "Explore", "/api/explore"),
    ("/reports", "Reports", "/api/jobs"),
)
"""The pages that every page leads to, and an operation without which there is no such page."""
AGAIN = "again"
"""The parameter by which a page asks for itself anew: no person does, so that it keeps no session alive."""
LARGE = 64 * 1024
"""Bytes of a form from which on it is read off the event loop."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
DOCS_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
}
PASSED_ON = frozenset({b"allow", b"retry-after"})
"""The headers of an error that its page has too."""
SIGN_IN = "/sign-in"
FLASH = "stats_gateway_notice"
"""Name of the flash message's cookie, followed by the instance's name."""
STATIC_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A signed-in administrator's request for a page, with the fields and files of the form it sent, if any."""

    http: Request
    admin: Admin
    session: Session
    form: Form = field(default_factory=dict)
    files: Files = field(default_factory=dict)

    @property
    def posted(self) -> bool:
        return self.http.method == "POST"


class Web:
    """Renders pages for those who may see them. ``public_url`` is the public listener's URL for clients."""

    def __init__(
        self,
        auth: Authenticator,
        operations: Sequence[Operation],
        version: str,
        public_url: str,
        port: int,
    ) -> None:
        self.auth = auth
        self._operations = {(each.method, each.path): each for each in operations}
        self._version = version
        self._public_url = public_url
        self._port = port
        self._flash = f"{FLASH}_{auth.instance}"
        self._navigation = [each for each in NAVIGATION if each[2] in {each.path for each in operations}]

    def page(self, handler: Callable[[PageRequest], Awaitable[Response]], *, changes: bool = False) -> Endpoint:
        """The handler as an endpoint for signed-in administrators, who need a read-write token if it ``changes``.

        A form must carry its session's CSRF token. Every error becomes a page that explains it.
        """

        async def answer(http: Request) -> Response:
            request: PageRequest | None = None
            try:
                self.auth.tokens.check_host(http.headers.raw)
                session = await self.auth.session(http, active=AGAIN not in http.query_params)
                if session is None:
                    return RedirectResponse(self._sign_in(http), 303, HEADERS)
                request = PageRequest(http, session.admin, session)
                return await handler(await self._checked(request, changes=changes))
            except GatewayError as error:
                return self.trouble(error, request)
            except Exception:
                log.exception("internal_error", page=http.scope["route"].path)
                return self.trouble(GatewayError("The gateway failed on this page; its log says why."), request)

        return answer

    def form(self, path: str, handler: Callable[[PageRequest], Awaitable[Response]]) -> Route:
        """The route of a form that changes something: GET shows it, POST sends it."""
        return Route(path, self.page(handler, changes=True), methods=["GET", "POST"])

    def render(
        self,
        request: PageRequest | None,
        template: str,
        *,
        status: int = 200,
        error: GatewayError | None = None,
        **values: Any,
    ) -> Response:
        """A page; with an ``error``, it has the error's status. Every template knows ``error``, ``may_change``,
        ``csrf_field()``, and what its frame needs."""
        session = None if request is None else request.session
        csrf = "" if session is None else session.csrf
        flash = None
        if request is not None:
            flash = open_flash(request.http.cookies.get(self._flash, ""), request.session)
        html = (
            environment()
            .get_template(template)
            .render(
                admin=None if request is None else request.admin,
                may_change=request is not None and request.admin.may_change,
                csrf_token=csrf,
                csrf_field=lambda: Markup('<input type="hidden" name="csrf" value="{}">').format(csrf),
                here="" if request is None else request.http.url.path,
                navigation=self._navigation,
                notice=flash,
                error=error,
                version=self._version,
                **values,
            )
        )
        response = HTMLResponse(html, status if error is None else error.status, HEADERS)
        if error is not None:
            response.raw_headers += [each for each in render(error)[1] if each[0] in PASSED_ON]
        if flash is not None:
            response.delete_cookie(self._flash, httponly=True, samesite="strict")
        return response

    def redirect(self, request: PageRequest, path: str, flash: str = "") -> Response:
        """A redirect to another page of the console, which shows the flash message."""
        response = RedirectResponse(path, 303, HEADERS)
        if flash:
            sealed = seal_flash(flash, request.session)
            response.set_cookie(self._flash, sealed, 60, httponly=True, samesite="strict")
        return response

    async def perform(
        self,
        request: PageRequest,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        **places: str,
    ) -> Any:
        """The result of an API operation for the signed-in administrator, audited as the API audits it.

        ``path`` is the operation's, with its names in braces, and ``places`` are their values. An operation that
        acts needs a form, whose CSRF token is checked already, or the browser's word that a page of ours sent the
        request. Raises GatewayError.
        """
        operation = self._operations[method, path]
        with audited(operation, places) as record:
            record.admin = request.admin
            if operation.acts and not request.form:
                self.auth.visitors.check_own(request.http)
            self.auth.tokens.check_role(request.admin, changes=operation.changes)
            call = Call(places, query or {}, _body(operation, body), request.admin, record.facts)
            return await perform(operation, call)

    def trouble(self, error: GatewayError, request: PageRequest | None = None) -> Response:
        """A page that explains an error."""
        template = "disabled.html" if isinstance(error, AdminDisabled) else "trouble.html"
        return self.render(request, template, error=error)

    async def out_of_place(self, http: Request, error: GatewayError) -> Response:
        """The response for a 404 or 405: a page for people, with its navigation for those who are signed in; the
        API's own shape for programs."""
        if http.url.path.startswith("/api/") or "text/html" not in http.headers.get("accept", ""):
            return error_response(error)
        with suppress(GatewayError):
            self.auth.tokens.check_host(http.headers.raw)
            if session := await self.auth.session(http, active=False):
                return self.trouble(error, PageRequest(http, session.admin, session))
        return self.trouble(error)

    def public_url(self, http: Request) -> str:
        """The public listener's URL for clients: from the settings, else a guess from the admin listener's own."""
        if self._public_url:
            return self._public_url
        host = http.url.hostname or "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def _checked(self, request: PageRequest, *, changes: bool) -> PageRequest:
        """The request with its form. A refused attempt to change something is in the audit log."""
        http = request.http
        try:
            form, files = await self._form(request) if request.posted else ({}, {})
            self.auth.tokens.check_role(request.admin, changes=changes)
            _refuse_keys(http.path_params, http.query_params, form)
        except GatewayError as error:
            if changes and request.posted:
                write_audit(request.admin, f"POST {http.scope['route'].path}", {}, error.status)
            raise
        return replace(request, form=form, files=files)

    async def _form(self, request: PageRequest) -> tuple[Form, Files]:
        self.auth.visitors.check_source(request.http)
        kind, body = request.http.headers.get("content-type", ""), await read_body(request.http)
        large = len(body) > LARGE
        form, files = await asyncio.to_thread(read_sent, kind, body) if large else read_sent(kind, body)
        if not is_csrf(request.session, form.get("csrf", "")):
            raise AdminForbidden("This form is not of this session. Go back, load the page anew, and try again.")
        return form, files

    def _sign_in(self, http: Request) -> str:
        """The sign-in page's URL, with the page to return to; the fields of a form are lost."""
        query: dict[str, str] = {"ended": "1"} if self.auth.cookie in http.cookies else {}
        if http.method in ("GET", "HEAD") and http.url.path != "/":
            query["next"] = http.url.path + (f"?{http.url.query}" if http.url.query else "")
        return f"{SIGN_IN}?{urlencode(query)}" if query else SIGN_IN


def own_path(text: str) -> str:
    """A path of the console where ``text`` is one, else its first page: never another host's."""
    parts = urlsplit(text) if text.isascii() and text.isprintable() else None
    if parts is None or parts.scheme or parts.netloc or not text.startswith("/") or text[1:2] in ("/", "\\"):
        return "/"
    return text


def _refuse_keys(*given: Mapping[str, str]) -> None:
    """Raises InvalidInput for a gateway key in a path or a field but a password: a page would show it."""
    pairs = chain.from_iterable(each.items() for each in given)
    refuse_keys((name, text) for name, text in pairs if name != "password")


def _body(operation: Operation, body: Mapping[str, Any] | None) -> Any:
    if operation.body is None:
        return None
    try:
        return msgspec.convert(body or {}, operation.body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None


# Flash messages


def seal_flash(text: str, session: Session) -> str:
    """A flash message as a cookie's value, sealed: nobody else puts words into the console's mouth."""
    return f"{_seal(text, session)}.{quote(text, safe='')}"


def open_flash(cookie: str, session: Session) -> str | None:
    """The flash message in a cookie; None without a genuine one."""
    seal, _, quoted = cookie.partition(".")
    text = unquote(quoted)
    genuine = hmac.compare_digest(seal.encode(), _seal(text, session).encode())
    return text if text and genuine else None


def _seal(text: str, session: Session) -> str:
    return hmac.digest(session.csrf.encode(), text.encode("utf-8", "replace"), "sha256").hex()


# Templates, docs pages and static files


@cache
def environment() -> Environment:
    """The templates, which escape all values. All are read at once, so that no page has to open a file."""
    folder = files("gateway.admin.web") / "templates"
    found = Environment(
        loader=DictLoader({each.name: each.read_text("utf-8") for each in folder.iterdir()}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update({each.__name__: each for each in (*FILTERS, schema_words)})
    found.globals.update(bar=bar, ratio=ratio)
    return found


def docs_page(document: Mapping[str, Any], *, in_console: bool = False) -> str:
    """An OpenAPI document as a page for people; ``in_console`` adds a link to the console."""

    def look_up(node: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in node:
            return node
        _, _, kind, name = node["$ref"].split("/")
        found: Mapping[str, Any] = document["components"][kind][name]
        return found

    return environment().get_template("docs.html").render(document, look_up=look_up, in_console=in_console)


def docs_routes(document: Mapping[str, Any], place: str = "", tokens: AdminTokens | None = None) -> list[Route]:
    """The routes of an OpenAPI document and its page; with ``tokens``, those of the admin listener."""
    html = docs_page(document, in_console=tokens is not None)

    async def data(_: Request) -> Response:
        return JSONResponse(document)

    async def page(_: Request) -> Response:
        return HTMLResponse(html, headers={"content-security-policy": DOCS_CSP})

    served = {f"{place}/openapi.json": data, f"{place}/docs": page}
    return [Route(path, each if tokens is None else guarded(tokens, each)) for path, each in served.items()]


def schema_words(schema: Mapping[str, Any]) -> str:
    """A JSON Schema's values in words, such as ``list of string`` or ``integer from 1``."""
    if "anyOf" in schema:
        return " or ".join(schema_words(each) for each in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    match schema.get("type"):
        case "array":
            return f"list of {schema_words(schema['items'])}"
        case "object" if "additionalProperties" in schema:
            return f"object of {schema_words(schema['additionalProperties'])}"
    words = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "maxLength": "of a length to"}
    bounds = [f"{word} {schema[name]:,.15g}" for name, word in words.items() if name in schema]
    return " ".join([schema.get("format") or schema.get("type", "anything"), *bounds])


def static_routes(tokens: AdminTokens) -> list[Route]:
    """One route for each static file, so that no path leaves the folder. They are public: they hold no data."""
    folder = files("gateway.admin.web") / "static"
    found = {each.name: each.read_bytes() for each in folder.iterdir()}
    return [
        Route(f"/static/{name}", guarded(tokens, _StaticFile(content, STATIC_TYPES[name[name.rindex(".") :]])))
        for name, content in found.items()
        if name[name.rindex(".") :] in STATIC_TYPES
    ]


class _StaticFile:
    """A file that browsers keep and revalidate by its tag each time, so that an upgrade is seen at once."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = HEADERS | {"content-type": kind, "cache-control": "no-cache", "etag": tag}

    async def __call__(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
