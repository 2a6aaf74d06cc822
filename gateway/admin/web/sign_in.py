"""Signing in and out."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admin.auth import NOBODY, Admin
from gateway.admin.operations import is_guess, received, write_audit
from gateway.admin.sessions import Entrance
from gateway.admin.web.pages import HEADERS, SIGN_IN, Form, Visit, Web, own_path, read_form
from gateway.errors import AdminTokenUnknown, GatewayError, RateLimited, row_of

ENDED = "Your session has ended. What you sent last was not carried out."


@dataclass(frozen=True, slots=True)
class SignIn:
    """The pages."""

    web: Web

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(SIGN_IN, self.ask, methods=["GET"]),
            Route(SIGN_IN, self.answer, methods=["POST"]),
            Route("/sign-out", self.web.page(self.leave), methods=["POST"]),
            Route("/sign-out", self.web.page(self.stay), methods=["GET"]),
        ]

    @property
    def entrance(self) -> Entrance:
        """Who comes in."""
        return self.web.entrance

    async def ask(self, request: Request) -> Response:
        """The form, for those who need it."""
        wanted = own_path(request.query_params.get("next", "/"))
        try:
            self.entrance.guard.check_host(request.headers.raw)
            if await self.entrance.session(request, active=False) is not None:
                return RedirectResponse(wanted, 303, HEADERS)
        except GatewayError as error:
            return self.web.trouble(error)
        response = self._form(wanted, ENDED if "ended" in request.query_params else "")
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Who follows a link from elsewhere comes without the cookie (SameSite=Strict), but loads anew with it.
            response.headers["refresh"] = "0"
        return response

    async def answer(self, request: Request) -> Response:
        """An attempt. Right or wrong, the audit log has it."""
        line = {"address": self.entrance.visitors.address(request)}
        admin, status = NOBODY, 500
        form: Form = {}
        try:
            self.entrance.guard.check_host(request.headers.raw)
            self.entrance.guard.check_enabled()
            self.entrance.visitors.check_source(request)
            form = read_form(request.headers.get("content-type", ""), await received(request))
            admin, secret = await self._entered(request, form.get("token", ""))
            status = 303
        except GatewayError as error:
            status = row_of(error).status
            if is_guess(error):
                return self._form(own_path(form.get("next", "/")), error=error)
            return self.web.trouble(error)
        finally:
            write_audit(admin, f"POST {SIGN_IN}", line, status)
        response = RedirectResponse(own_path(form.get("next", "/")), 303, HEADERS)
        secure = self.entrance.visitors.by_https(request)
        response.set_cookie(self.entrance.cookie, secret, httponly=True, samesite="strict", secure=secure)
        return response

    async def leave(self, visit: Visit) -> Response:
        """Ends the session, everywhere."""
        await self.entrance.sessions.end(visit.request.cookies[self.entrance.cookie])
        write_audit(visit.admin, "POST /sign-out", {}, 303)
        response = RedirectResponse(SIGN_IN, 303, HEADERS)
        response.delete_cookie(self.entrance.cookie, httponly=True, samesite="strict")
        return response

    async def stay(self, _: Visit) -> Response:
        """A link signs nobody out."""
        return RedirectResponse("/", 303, HEADERS)

    async def _entered(self, request: Request, token: str) -> tuple[Admin, str]:
        """Who it is, and their new session's secret."""
        admin = self.entrance.guard.recognise(token.encode())
        secret = await self.entrance.sessions.begin(token)
        if admin is None or secret is None:
            await self.entrance.guesses.note(request, "form")
            raise AdminTokenUnknown("No admin token reads like this.")
        return admin, secret

    def _form(self, wanted: str, said: str = "", *, error: GatewayError | None = None) -> Response:
        if isinstance(error, RateLimited):
            said = f"{error.message}. Try again in {error.retry_after or 1:.0f} seconds."
        elif error is not None:
            said = error.message
        return self.web.render(None, "sign-in.html", wanted=wanted, said=said, error=error)
