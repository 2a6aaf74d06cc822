"""The sign-in page, and signing out."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.auth import NOBODY, Admin
from gateway.admin.operations import is_guess, read_body, write_audit
from gateway.admin.web.forms import Form, read_form
from gateway.admin.web.pages import HEADERS, SIGN_IN, PageRequest, Web, own_path
from gateway.errors import AdminTokenUnknown, GatewayError, RateLimited

ENDED = "Your session has ended. What you sent last was not carried out."


@dataclass(frozen=True, slots=True)
class SignIn:
    """The routes of signing in and out."""

    web: Web

    @property
    def routes(self) -> list[Route]:
        return [
            Route(SIGN_IN, self.ask, methods=["GET"]),
            Route(SIGN_IN, self.answer, methods=["POST"]),
            Route("/sign-out", self.web.page(self.leave), methods=["POST"]),
            Route("/sign-out", self.web.page(self.stay), methods=["GET"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Show the form, or go on where a session is live."""
        auth, wanted = self.web.auth, own_path(request.query_params.get("next", "/"))
        try:
            auth.tokens.check_host(request.headers.raw)
            if await auth.session(request, active=False) is not None:
                return RedirectResponse(wanted, 303, HEADERS)
        except GatewayError as error:
            return self.web.trouble(error)
        response = self._form(wanted, ENDED if "ended" in request.query_params else "")
        if request.headers.get("sec-fetch-site") == "cross-site":
            # A link from another site comes without the cookie (SameSite=Strict), but a reload brings it.
            response.headers["refresh"] = "0"
        return response

    async def answer(self, request: Request) -> Response:
        """Check a token and start a session; the audit log has every attempt."""
        auth = self.web.auth
        facts = {"address": auth.visitors.address(request)}
        admin, status = NOBODY, 500
        form: Form = {}
        try:
            auth.tokens.check_host(request.headers.raw)
            auth.tokens.check_enabled()
            auth.visitors.check_source(request)
            form = read_form(request.headers.get("content-type", ""), await read_body(request))
            admin, secret = await self._entered(request, form.get("token", ""))
            status = 303
        except GatewayError as error:
            status = error.status
            if is_guess(error):
                return self._form(own_path(form.get("next", "/")), error=error)
            return self.web.trouble(error)
        finally:
            write_audit(admin, f"POST {SIGN_IN}", facts, status)
        response = RedirectResponse(own_path(form.get("next", "/")), 303, HEADERS)
        secure = auth.visitors.by_https(request)
        response.set_cookie(auth.cookie, secret, httponly=True, samesite="strict", secure=secure)
        return response

    async def leave(self, request: PageRequest) -> Response:
        """End the session in every process."""
        auth = self.web.auth
        await auth.sessions.end(request.http.cookies[auth.cookie])
        write_audit(request.admin, "POST /sign-out", {}, 303)
        response = RedirectResponse(SIGN_IN, 303, HEADERS)
        response.delete_cookie(auth.cookie, httponly=True, samesite="strict")
        return response

    async def stay(self, _: PageRequest) -> Response:
        """Go to the first page: a link signs nobody out."""
        return RedirectResponse("/", 303, HEADERS)

    async def _entered(self, request: Request, token: str) -> tuple[Admin, str]:
        """The admin, and the new session's secret. Raises AdminTokenUnknown, RateLimited."""
        auth = self.web.auth
        admin = auth.tokens.recognise(token.encode())
        secret = await auth.sessions.begin(token)
        if admin is None or secret is None:
            await auth.guesses.note(request, "form")
            raise AdminTokenUnknown("This is none of the gateway's admin tokens.")
        return admin, secret

    def _form(self, wanted: str, message: str = "", *, error: GatewayError | None = None) -> Response:
        if isinstance(error, RateLimited):
            message = f"{error.message}. Try again in {error.retry_after or 1:.0f} seconds."
        elif error is not None:
            message = error.message
        return self.web.render(None, "sign-in.html", wanted=wanted, message=message, error=error)
