"""Controls: the sandbox's own endpoints, ``/-/calls``, ``/-/gate`` and ``/-/plan``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.sandbox.gate import Gate
from gateway.sandbox.ledger import Ledger
from gateway.sandbox.plan import Plan


def control_routes(ledger: Ledger, gate: Gate, plan: Plan) -> list[Route]:
    """GET and DELETE ``/-/calls``; PUT (close) and DELETE (open) ``/-/gate``; PUT and DELETE ``/-/plan``."""

    async def calls(request: Request) -> Response:
        if request.method == "DELETE":
            ledger.reset()
        return JSONResponse(ledger.report())

    async def doorkeeper(request: Request) -> Response:
        if request.method == "PUT":
            gate.close()
        if request.method == "DELETE":
            gate.open()
        return JSONResponse({"closed": gate.is_closed})

    async def planner(request: Request) -> Response:
        if request.method == "DELETE":
            plan.cancel()
        if request.method == "PUT":
            try:
                plan.order(await request.body())
            except ValueError as error:
                return JSONResponse({"message": str(error)}, status_code=400)
        return JSONResponse({"times": plan.times})

    return [
        Route("/-/calls", calls, methods=["GET", "DELETE"]),
        Route("/-/gate", doorkeeper, methods=["GET", "PUT", "DELETE"]),
        Route("/-/plan", planner, methods=["GET", "PUT", "DELETE"]),
    ]
