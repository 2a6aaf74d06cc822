"""Signing in and out, and the first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.admission.addresses import client_address, subject_of
from gateway.admission.admission import Admission
from gateway.console.entrance import COOKIE
from gateway.console.guard import NOBODY
from gateway.console.operations import write_audit
from gateway.console.web.forms import read_form
from gateway.console.web.web import HEADERS, SIGN_IN, Visit, Web, own_path
from gateway.errors import AdminUnauthenticated, GatewayError, RateLimited, row_of
from gateway.tenants.tenant import TenantLimits

ATTEMPTS_PER_MINUTE = 10
ATTEMPTS = TenantLimits(requests_per_second=ATTEMPTS_PER_MINUTE / 60, burst=ATTEMPTS_PER_MINUTE)
"""How often one address may try to sign in."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class SignIn:
    """Signing in and out. ``trusted`` proxies are believed whom they saw, and whether it was by https; ``secure``
    says that it always is."""

    web: Web
    admission: Admission
    trusted: Sequence[Network]
    secure: bool

    @property
    def routes(self) -> list[Route]:
        """Its pages."""
        return [
            Route(SIGN_IN, self.ask, methods=["GET"]),
            Route(SIGN_IN, self.enter, methods=["POST"]),
            Route("/sign-out", self.web.page(self.leave), methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """The form."""
        try:
            self.web.entrance.guard.check_host(request.headers.raw)
            if await self.web.entrance.session(request, active=False) is not None:
                return RedirectResponse(own_path(request.query_params.get("next", "/")), 303, HEADERS)
        except GatewayError as error:
            return self.web.trouble(error)
        return self._form(request.query_params.get("next", "/"))

    async def enter(self, request: Request) -> Response:
        """A try, right or wrong, which the audit log notes."""
        address = client_address((request.client or ("",))[0], request.headers.raw, self.trusted)
        admin, status = NOBODY, 303
        wanted = "/"
        try:
            self.web.entrance.guard.check_host(request.headers.raw)
            self.web.entrance.guard.check_enabled()
            form = read_form(request.headers.get("content-type", ""), await request.body())
            wanted = form.get("next", "/")
            await self.admission.admit(f"sign-in:{subject_of(address)}", ATTEMPTS)
            token = form.get("token", "").encode()
            secret = await self.web.entrance.sessions.begin(form.get("token", ""))
            if secret is None:
                raise AdminUnauthenticated("This is no admin token.")
            admin = self.web.entrance.guard.recognise(token) or NOBODY
        except GatewayError as error:
            status = row_of(error).status
            if isinstance(error, (AdminUnauthenticated, RateLimited)):
                return self._form(wanted, error)
            return self.web.trouble(error)
        finally:
            write_audit(admin, f"POST {SIGN_IN}", {"address": address}, status)
        response = RedirectResponse(own_path(wanted), 303, HEADERS)
        response.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=self._is_secure(request))
        return response

    async def leave(self, visit: Visit) -> Response:
        """Ends the session everywhere."""
        await self.web.entrance.sessions.end(visit.request.cookies[COOKIE])
        write_audit(visit.admin, "POST /sign-out", {}, 303)
        response = RedirectResponse(SIGN_IN, 303, HEADERS)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    def _form(self, wanted: str, error: GatewayError | None = None) -> Response:
        status = 200 if error is None else row_of(error).status
        return self.web.render(None, "sign-in.html", status=status, wanted=own_path(wanted), error=error)

    def _is_secure(self, request: Request) -> bool:
        return self.secure


def routes(web: Web) -> list[Route]:
    """The first page."""

    async def overview(visit: Visit) -> Response:
        return web.render(visit, "overview.html")

    return [Route("/", web.page(overview), methods=["GET"])]
