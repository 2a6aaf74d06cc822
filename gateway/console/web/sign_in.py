"""Signing in and out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admission.addresses import came_by_https, client_address, subject_of
from gateway.admission.admission import Admission
from gateway.callers import Network
from gateway.console.entrance import COOKIE, check_source
from gateway.console.guard import NOBODY, Admin
from gateway.console.operations import write_audit
from gateway.console.web.forms import Form, read_form
from gateway.console.web.web import HEADERS, SIGN_IN, Visit, Web, own_path
from gateway.errors import AdminUnauthenticated, GatewayError, RateLimited, row_of
from gateway.tenants.tenant import TenantLimits

PER_MINUTE = 10
ATTEMPTS = TenantLimits(requests_per_second=PER_MINUTE / 60, burst=PER_MINUTE)
"""How often one address may try."""
ENDED = "Your session has ended. What you sent last was not carried out."


@dataclass(frozen=True, slots=True)
class SignIn:
    """The pages. ``trusted`` proxies are believed whom they saw, and whether by https; ``secure`` says that it
    always is."""

    web: Web
    admission: Admission
    trusted: Sequence[Network]
    secure: bool

    @property
    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route(SIGN_IN, self.ask, methods=["GET"]),
            Route(SIGN_IN, self.answer, methods=["POST"]),
            Route("/sign-out", self.web.page(self.leave), methods=["POST"]),
            Route("/sign-out", self.web.page(self.stay), methods=["GET"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The form, for those who need it."""
        wanted = own_path(request.query_params.get("next", "/"))
        try:
            self.web.entrance.guard.check_host(request.headers.raw)
            if await self.web.entrance.session(request, active=False) is not None:
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
        line = {"address": client_address(_peer(request), request.headers.raw, self.trusted)}
        admin, status = NOBODY, 500
        form: Form = {}
        try:
            self.web.entrance.guard.check_host(request.headers.raw)
            self.web.entrance.guard.check_enabled()
            check_source(request)
            form = read_form(request.headers.get("content-type", ""), await request.body())
            admin, secret = await self._entered(form.get("token", ""), line["address"])
            status = 303
        except (AdminUnauthenticated, RateLimited) as error:
            status = row_of(error).status
            return self._form(own_path(form.get("next", "/")), error=error)
        except GatewayError as error:
            status = row_of(error).status
            return self.web.trouble(error)
        finally:
            write_audit(admin, f"POST {SIGN_IN}", line, status)
        response = RedirectResponse(own_path(form.get("next", "/")), 303, HEADERS)
        response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=self._is_secure(request))
        return response

    async def leave(self, visit: Visit) -> Response:
        """Ends the session, everywhere."""
        await self.web.entrance.sessions.end(visit.request.cookies[COOKIE])
        write_audit(visit.admin, "POST /sign-out", {}, 303)
        response = RedirectResponse(SIGN_IN, 303, HEADERS)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def stay(self, _: Visit) -> Response:
        """A link signs nobody out."""
        return RedirectResponse("/", 303, HEADERS)

    async def _entered(self, token: str, address: str) -> tuple[Admin, str]:
        """Who it is, and their new session's secret."""
        await self.admission.admit(f"sign-in:{subject_of(address)}", ATTEMPTS)
        admin = self.web.entrance.guard.recognise(token.encode())
        secret = await self.web.entrance.sessions.begin(token)
        if admin is None or secret is None:
            raise AdminUnauthenticated("No admin token reads like this.")
        return admin, secret

    def _form(self, wanted: str, said: str = "", *, error: GatewayError | None = None) -> Response:
        if isinstance(error, RateLimited):
            said = f"Too many attempts from your address. Try again in {error.retry_after or 1:.0f} seconds."
        elif error is not None:
            said = error.message
        return self.web.render(None, "sign-in.html", wanted=wanted, said=said, error=error)

    def _is_secure(self, request: Request) -> bool:
        return self.secure or came_by_https(_peer(request), request.headers.raw, self.trusted)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
