"""Web: what all pages of the console have in common: who may see them, and how they are sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.console.entrance import Entrance, is_csrf
from gateway.console.guard import Admin
from gateway.console.operations import Call, Operation, audited, carried_out, write_audit
from gateway.console.sessions import Session
from gateway.console.web.forms import Form, read_form
from gateway.console.web.notices import NOTICE, notice_of, sealed_notice
from gateway.console.web.rendering import environment
from gateway.errors import AdminDisabled, AdminForbidden, GatewayError, InvalidInput, row_of

Endpoint = Callable[[Request], Awaitable[Response]]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
SIGN_IN = "/sign-in"

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page: by whom, and the fields of the form that it sent, if any."""

    request: Request
    admin: Admin
    session: Session
    form: Form = field(default_factory=dict)


class Web:
    """Renders pages, and lets in who may see them. ``public_url`` is where clients find the public listener."""

    def __init__(
        self,
        entrance: Entrance,
        operations: Sequence[Operation],
        version: str,
        public_hosts: Sequence[str],
        port: int,
    ) -> None:
        self.entrance = entrance
        self._operations = {(each.method, each.path): each for each in operations}
        self._version = version
        self._public_hosts = public_hosts
        self._port = port
        self._environment = environment()

    def page(self, handler: Callable[[Visit], Awaitable[Response]], *, changes: bool = False) -> Endpoint:
        """The handler as Starlette calls it, for those who are signed in, and may change something where it
        ``changes``. A form must carry its session's own token. What goes wrong becomes a page that says so."""

        async def answer(request: Request) -> Response:
            try:
                visit = await self._visit(request, changes=changes)
                if isinstance(visit, Response):
                    return visit
                try:
                    return await handler(visit)
                except GatewayError as error:
                    return self.trouble(error, visit)
            except GatewayError as error:
                return self.trouble(error)
            except Exception:
                log.exception("internal_error", page=request.url.path)
                return self.trouble(GatewayError("The gateway failed on this page; its log says why."))

        return answer

    def render(self, visit: Visit | None, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page. Every template knows ``may_change``, ``csrf_field()``, and what concerns its frame."""
        request, session = (None, None) if visit is None else (visit.request, visit.session)
        notice = None if visit is None else notice_of(visit.request, visit.session)
        html = self._environment.get_template(template).render(
            admin=None if visit is None else visit.admin,
            may_change=visit is not None and visit.admin.may_change,
            csrf_token="" if session is None else session.csrf,
            csrf_field=lambda: _csrf_field(session),
            here="" if request is None else request.url.path,
            notice=notice,
            version=self._version,
            **values,
        )
        response = HTMLResponse(html, status, HEADERS)
        if notice is not None:
            response.delete_cookie(NOTICE, httponly=True, samesite="strict")
        return response

    def redirect(self, visit: Visit, path: str, say: str = "") -> Response:
        """Goes on to another page of the console, which then says what was done."""
        response = RedirectResponse(path, 303, HEADERS)
        if say:
            response.set_cookie(NOTICE, sealed_notice(say, visit.session), 60, httponly=True, samesite="strict")
        return response

    async def perform(
        self,
        visit: Visit,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        **places: str,
    ) -> Any:
        """What an operation of the API answers to whoever is signed in, with the API's own line in the audit log.

        ``path`` is the operation's, with its names in braces, ``places`` their values. Raises GatewayError.
        """
        operation = self._operations[method, path]
        with audited(operation, places) as line:
            line.admin = visit.admin
            self.entrance.guard.check_role(visit.admin, changes=operation.changes)
            call = Call(places, query or {}, _body(operation, body), visit.admin, line.facts)
            return await carried_out(operation, call)

    def trouble(self, error: GatewayError, visit: Visit | None = None) -> Response:
        """A page that says what went wrong."""
        disabled = isinstance(error, AdminDisabled)
        return self.render(
            visit, "disabled.html" if disabled else "trouble.html", status=row_of(error).status, error=error
        )

    def public_url(self, request: Request) -> str:
        """Where clients reach the public listener, as far as it can be told from how we are reached."""
        if self._public_hosts:
            return f"http://{self._public_hosts[0]}"
        host = request.url.hostname or "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def _visit(self, request: Request, *, changes: bool) -> Visit | Response:
        self.entrance.guard.check_host(request.headers.raw)
        session = await self.entrance.session(request, active=True)
        if session is None:
            return RedirectResponse(_sign_in(request), 303, HEADERS)
        try:
            form = await self._form(request, session)
            self.entrance.guard.check_role(session.admin, changes=changes)
        except GatewayError as error:
            if changes:
                write_audit(
                    session.admin, f"{request.method} {request.scope['route'].path}", {}, row_of(error).status
                )
            raise
        return Visit(request, session.admin, session, form)

    async def _form(self, request: Request, session: Session) -> Form:
        if request.method != "POST":
            return {}
        form = read_form(request.headers.get("content-type", ""), await request.body())
        if not is_csrf(session, form.get("csrf", "")):
            raise AdminForbidden("This form is not from this session. Go back, load the page anew, and try again.")
        return form


def own_path(text: str) -> str:
    """A path of the console where ``text`` is one, else its first page: never another host's."""
    parts = urlsplit(text) if text.isascii() and text.isprintable() else None
    if parts is None or parts.scheme or parts.netloc or not text.startswith("/") or text[1:2] in ("/", "\\"):
        return "/"
    return text


def _sign_in(request: Request) -> str:
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    wanted = target if request.method in ("GET", "HEAD") else "/"
    return SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='/')}"


def _csrf_field(session: Session | None) -> Markup:
    return Markup('<input type="hidden" name="csrf" value="{}">').format("" if session is None else session.csrf)


def _body(operation: Operation, body: Mapping[str, Any] | None) -> Any:
    if operation.body is None:
        return None
    try:
        return msgspec.convert(body or {}, operation.body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None
