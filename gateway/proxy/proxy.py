"""Proxy: HTTP around the resolver, from a request to its response."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from msgspec import structs
from starlette.types import Send

from gateway.catalogue.endpoints import MOST_POSTED_BYTES, with_content
from gateway.catalogue.query import Query
from gateway.errors import GatewayError
from gateway.lifecycle import Lifecycle
from gateway.observe.outcome import Outcome, clock
from gateway.proxy.access_log import AccessLog
from gateway.proxy.callers import Callers, in_time
from gateway.proxy.delivery import Coder, deliver
from gateway.proxy.methods import own_answer
from gateway.proxy.passthrough import Passthrough
from gateway.proxy.request import ClientGone, Request, Scope
from gateway.proxy.resolve import Resolver
from gateway.proxy.response import (
    METHODS,
    OUR_PAGES_ALONE,
    POSTED,
    Response,
    by_name,
    depends_on_origin,
    preflight,
    refusal_of,
    response_headers,
    varying,
    with_upstream_status,
)
from gateway.tenants.tenant import Tenant, authorise

log = structlog.get_logger("gateway")


class Proxy:
    """Answers every request to the public listener but for ``/-/``.

    A client waits ``caller_timeout`` seconds at most; without a ``coder`` bodies are sent uncoded.
    """

    def __init__(
        self,
        callers: Callers,
        resolver: Resolver,
        passthrough: Passthrough,
        coder: Coder | None,
        access_log: AccessLog,
        lifecycle: Lifecycle,
        caller_timeout: float,
    ) -> None:
        self.callers = callers
        self.resolver = resolver
        self.profile = resolver.profile
        self.access_log = access_log
        self.lifecycle = lifecycle
        self._passthrough = passthrough
        self._coder = coder
        self._clock = resolver.clock
        self._caller_timeout = caller_timeout

    async def serve(self, request: Request, scope: Scope, send: Send) -> Response | None:
        """Answer a request on its connection, whatever happens; None where the client has gone."""
        response = await self._respond(request, None)
        if response is None:
            return None
        if self.lifecycle.draining:
            request.extra_headers.append((b"connection", b"close"))
        ended = clock()
        try:
            await response.send(scope, send, request.extra_headers)
        finally:
            self.access_log.answered(request, response, ended)  # not before: a log's line takes longer than a hit
        return response

    async def explore(self, request: Request, tenant: Tenant | None) -> Response | None:
        """The response to a request made as a tenant (None: as a caller without a key), counted and logged like
        any other; None where it was abandoned."""
        response = await self._respond(request, tenant)
        if response is not None:
            self.access_log.answered(request, response, clock())
        return response

    async def answer(self, request: Request, tenant: Tenant | None = None) -> Response:
        """The response to a request, or to one made as a ``tenant``. Raises GatewayError, ClientGone."""
        request.deadline = request.arrived + self._caller_timeout
        if not request.reads:
            own = self._own_response(request)
            if own is not None:
                return own
        elif request.may_have_body:
            await in_time(request.refuse_body(), request.deadline)
        if tenant is None:
            await self.callers.identify(request)
        else:
            self.callers.impersonate(request, tenant)
        request.stages.identified = clock()
        query = request.query = self.profile.recognise(request.path, request.query_string, request.has_query)
        access = authorise(request.tenant, query, self.resolver.sharing.covers)
        await self.callers.admit(request)
        if request.posted:
            query = request.query = await self._with_content(request, query)
        request.stages.admitted = clock()
        if not request.reads:
            resolution = await self._passthrough.forward(request, query, access.own or access)
            return self.profile.render(resolution, self._clock.now(), request.public)
        lookup = self.resolver.lookup(request, query, request.headers, access, request.method)
        resolution = request.resolution = await self.resolver.resolve(lookup, request.deadline)
        response = self.profile.render(resolution, self._clock.now(), request.public)
        delivered = await deliver(response, request.method, request.headers, self._coder, response.key)
        same = delivered.status == response.status
        return delivered if same else with_upstream_status(delivered, response.status)

    async def _respond(self, request: Request, tenant: Tenant | None) -> Response | None:
        self.access_log.began(request)
        try:
            response = await self.answer(request, tenant)
        except GatewayError as error:
            response = refusal_of(error)
        except ClientGone:
            self.access_log.abandoned(request)
            return None
        except Exception:
            log.exception("internal_error", request_id=request.id.decode())
            response = refusal_of(GatewayError("The gateway failed on this request; its log says why."))
        return self._for_pages(request, response)

    async def _with_content(self, request: Request, query: Query) -> Query:
        """The query of which the request's content is a part. Raises BodyTooLarge, DeadlineExceeded."""
        most = min(self._passthrough.max_bytes, MOST_POSTED_BYTES)
        content = await in_time(request.body(most), request.deadline)
        return with_content(query, request.headers, content)

    def _own_response(self, request: Request) -> Response | None:
        """The response to what needs no key and goes no further: a preflight (Fetch §3.2), and an OPTIONS about
        the gateway itself; None for any other request that is neither GET nor HEAD, which may be a question by
        POST. Raises MethodNotAllowed, MethodUnknown."""
        posted = self.profile.is_posted(request.path)
        request.posted = request.reads = posted and request.method == "POST"
        methods = self._passthrough.methods_at(posted=posted)
        public = self.profile.origins_of(None)
        granted = (
            preflight(request.method, request.headers, methods=POSTED if posted else METHODS) if public else None
        )
        if granted is not None:
            return Response(204, granted, b"", Outcome.BYPASS, "preflight")
        own = request.method == "OPTIONS" and own_answer(request.target, request.headers, methods)
        if own:
            return Response(204, own, b"", Outcome.BYPASS, "options")
        request.check_method(methods)
        return None

    def _for_pages(self, request: Request, response: Response) -> Response:
        """Lets a tenant's own pages read the response, refusals too; one to nobody known, anybody's pages."""
        if not request.reads:
            return response
        tenant = request.known
        origins = self.profile.origins_of(tenant)
        if request.located is not None:
            return self._for_pages_by_address(request, response, origins if tenant is None else by_name(origins))
        if not origins:
            return response
        request.origin_headers = response_headers(request.header(b"origin"), origins)
        request.extra_headers += request.origin_headers
        if not depends_on_origin(origins):
            return response
        return structs.replace(response, headers=varying(response.headers, b"Origin"))

    def _for_pages_by_address(self, request: Request, response: Response, origins: Collection[str]) -> Response:
        """The same where an address decides, which lends itself to the pages that its user visits: whether one
        asks decides too."""
        request.origin_headers = response_headers(request.header(b"origin"), origins)
        if request.known is not None:
            request.origin_headers.append(OUR_PAGES_ALONE)
        request.extra_headers += request.origin_headers
        headers = varying(varying(response.headers, b"Origin"), b"Sec-Fetch-Site")
        return structs.replace(response, headers=headers)
