"""Web: what all pages of the console have in common: who may see them, and how they are sent.

Forms: what a page's form sends. Pure.

Notices: what was done, told by the next page. Pure.

Assets: the console's own styles, scripts and pictures, out of the package.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec
import structlog
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.auth import Admin, Guard
from gateway.admin.operations import (
    Call,
    Operation,
    audited,
    carried_out,
    received,
    refuse_keys,
    refused,
    write_audit,
)
from gateway.admin.routes import guarded
from gateway.admin.sessions import Entrance, Session, is_csrf
from gateway.admin.web.format import environment
from gateway.errors import AdminDisabled, AdminForbidden, GatewayError, InvalidInput, render, row_of

Form = Mapping[str, str]
KIND = "application/x-www-form-urlencoded"
MOST_FIELDS = 200


def read_form(kind: str, body: bytes) -> Form:
    """The fields of a form by name, without the blanks around them; of a repeated one the first counts. Lines end
    as elsewhere, not as browsers end them.

    Raises InvalidInput for what no form of ours sends.
    """
    if kind.partition(";")[0].strip().lower() != KIND:
        raise InvalidInput("A form is sent as " + KIND)
    try:
        pairs = parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidInput("The form cannot be read") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        form.setdefault(name, value if name == "password" else value.replace("\r\n", "\n").strip())
    return form


NOTICE = "stats_gateway_notice"
"""The cookie's name, with the instance's after it. It is sealed, so that nobody else puts words into the console's
mouth."""


def sealed_notice(text: str, session: Session) -> str:
    """The cookie's value."""
    return f"{_seal(text, session)}.{quote(text, safe='')}"


def notice_of(cookie: str, session: Session) -> str | None:
    """What the page before wanted to be told, if it did."""
    seal, _, quoted = cookie.partition(".")
    text = unquote(quoted)
    genuine = hmac.compare_digest(seal.encode(), _seal(text, session).encode())
    return text if text and genuine else None


def _seal(text: str, session: Session) -> str:
    return hmac.digest(session.csrf.encode(), text.encode("utf-8", "replace"), "sha256").hex()


Endpoint = Callable[[Request], Awaitable[Response]]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
}
PASSED_ON = frozenset({b"allow", b"retry-after"})
"""Of an error's headers those that a page has, too."""
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
        public_url: str,
        port: int,
    ) -> None:
        self.entrance = entrance
        self._operations = {(each.method, each.path): each for each in operations}
        self._version = version
        self._public_url = public_url
        self._port = port
        self._notice = f"{NOTICE}_{entrance.instance}"
        self._environment = environment()

    def page(self, handler: Callable[[Visit], Awaitable[Response]], *, changes: bool = False) -> Endpoint:
        """The handler as Starlette calls it, for those who are signed in, and may change something where it
        ``changes``. A form must carry its session's own token. What goes wrong becomes a page that says so."""

        async def answer(request: Request) -> Response:
            visit: Visit | None = None
            try:
                self.entrance.guard.check_host(request.headers.raw)
                session = await self.entrance.session(request, active=True)
                if session is None:
                    return RedirectResponse(self._sign_in(request), 303, HEADERS)
                visit = Visit(request, session.admin, session)
                return await handler(await self._checked(visit, changes=changes))
            except GatewayError as error:
                return self.trouble(error, visit)
            except Exception:
                log.exception("internal_error", page=request.scope["route"].path)
                return self.trouble(GatewayError("The gateway failed on this page; its log says why."), visit)

        return answer

    def render(
        self,
        visit: Visit | None,
        template: str,
        *,
        status: int = 200,
        error: GatewayError | None = None,
        **values: Any,
    ) -> Response:
        """A page, with the status of the ``error`` that it tells of, if any. Every template knows ``error``,
        ``may_change``, ``csrf_field()``, and what concerns its frame."""
        request, session = (None, None) if visit is None else (visit.request, visit.session)
        notice = None if visit is None else notice_of(visit.request.cookies.get(self._notice, ""), visit.session)
        html = self._environment.get_template(template).render(
            admin=None if visit is None else visit.admin,
            may_change=visit is not None and visit.admin.may_change,
            csrf_token="" if session is None else session.csrf,
            csrf_field=lambda: _csrf_field(session),
            here="" if request is None else request.url.path,
            notice=notice,
            error=error,
            version=self._version,
            **values,
        )
        response = HTMLResponse(html, status if error is None else row_of(error).status, HEADERS)
        if error is not None:
            response.raw_headers += [each for each in render(error)[1] if each[0] in PASSED_ON]
        if notice is not None:
            response.delete_cookie(self._notice, httponly=True, samesite="strict")
        return response

    def redirect(self, visit: Visit, path: str, say: str = "") -> Response:
        """Goes on to another page of the console, which then says what was done."""
        response = RedirectResponse(path, 303, HEADERS)
        if say:
            notice = sealed_notice(say, visit.session)
            response.set_cookie(self._notice, notice, 60, httponly=True, samesite="strict")
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

        ``path`` is the operation's, with its names in braces, ``places`` their values. What does anything is done
        for our own pages alone: for a form, which has shown its session's token, and for a link or a typed
        address only where the browser says that it is ours. Raises GatewayError.
        """
        operation = self._operations[method, path]
        with audited(operation, places) as line:
            line.admin = visit.admin
            if operation.acts and not visit.form:
                self.entrance.visitors.check_own(visit.request)
            self.entrance.guard.check_role(visit.admin, changes=operation.changes)
            call = Call(places, query or {}, _body(operation, body), visit.admin, line.facts)
            return await carried_out(operation, call)

    def trouble(self, error: GatewayError, visit: Visit | None = None) -> Response:
        """A page that says what went wrong."""
        template = "disabled.html" if isinstance(error, AdminDisabled) else "trouble.html"
        return self.render(visit, template, error=error)

    def out_of_place(self, request: Request, error: GatewayError) -> Response:
        """What is not there, or not by this method: a page for people, the API's own answer for programs."""
        if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
            return refused(error)
        return self.trouble(error)

    def public_url(self, request: Request) -> str:
        """Where clients reach the public listener: as the settings say, else as far as can be told from here."""
        if self._public_url:
            return self._public_url
        host = request.url.hostname or "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    async def _checked(self, visit: Visit, *, changes: bool) -> Visit:
        """With its form, where it sent one. Whoever tries to change what they may not is in the audit log."""
        request = visit.request
        try:
            form = await self._form(visit) if request.method == "POST" else {}
            self.entrance.guard.check_role(visit.admin, changes=changes)
            _refuse_keys(request.path_params, request.query_params, form)
        except GatewayError as error:
            if changes and request.method == "POST":
                write_audit(visit.admin, f"POST {request.scope['route'].path}", {}, row_of(error).status)
            raise
        return replace(visit, form=form)

    async def _form(self, visit: Visit) -> Form:
        self.entrance.visitors.check_source(visit.request)
        form = read_form(visit.request.headers.get("content-type", ""), await received(visit.request))
        if not is_csrf(visit.session, form.get("csrf", "")):
            raise AdminForbidden("This form is not of this session. Go back, load the page anew, and try again.")
        return form

    def _sign_in(self, request: Request) -> str:
        """Where whoever is not signed in goes, to come back after it; what a form said is lost."""
        told: dict[str, str] = {"ended": "1"} if self.entrance.cookie in request.cookies else {}
        if request.method in ("GET", "HEAD") and request.url.path != "/":
            told["next"] = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return f"{SIGN_IN}?{urlencode(told)}" if told else SIGN_IN


def own_path(text: str) -> str:
    """A path of the console where ``text`` is one, else its first page: never another host's."""
    parts = urlsplit(text) if text.isascii() and text.isprintable() else None
    if parts is None or parts.scheme or parts.netloc or not text.startswith("/") or text[1:2] in ("/", "\\"):
        return "/"
    return text


def _refuse_keys(*given: Mapping[str, str]) -> None:
    """Raises InvalidInput for a gateway key in a field or a path, but for a password's: a page would show it."""
    pairs = chain.from_iterable(each.items() for each in given)
    refuse_keys((name, text) for name, text in pairs if name != "password")


def _csrf_field(session: Session | None) -> Markup:
    return Markup('<input type="hidden" name="csrf" value="{}">').format("" if session is None else session.csrf)


def _body(operation: Operation, body: Mapping[str, Any] | None) -> Any:
    if operation.body is None:
        return None
    try:
        return msgspec.convert(body or {}, operation.body)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from None


KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def routes(guard: Guard) -> list[Route]:
    """One for each file: there is no path to leave the folder by. They tell nothing, so anybody may read them."""
    folder = files("gateway.admin.web") / "static"
    found = {each.name: each.read_bytes() for each in folder.iterdir()}
    return [
        Route(f"/static/{name}", guarded(guard, _Asset(content, KINDS[name[name.rindex(".") :]])))
        for name, content in found.items()
        if name[name.rindex(".") :] in KINDS
    ]


class _Asset:
    """One file, which browsers keep, and ask for with its tag each time, so that an upgrade is seen at once."""

    def __init__(self, content: bytes, kind: str) -> None:
        self._content = content
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = HEADERS | {"content-type": kind, "cache-control": "no-cache", "etag": tag}

    async def __call__(self, request: Request) -> Response:
        if request.headers.get("if-none-match") == self._headers["etag"]:
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, headers=self._headers)
