"""The guided tour: what a newcomer is shown, and what each step promises."""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from enum import Enum

import httpx2 as httpx

WINDOW = "start_date=2014-01-02&end_date=2014-03-05"
COLLECTION = f"/lboro/timeline/total/views/collection/15?{WINDOW}"


class Who(Enum):
    """How a step identifies itself; the demo's tenant ``reports`` holds lboro's credential."""

    REPORTS = "reports' key"
    REPORTS_BASIC = "reports' key as a basic-auth password"
    DASHBOARDS = "the key of another tenant, dashboards, which holds monash's credential only"
    NOBODY = "no key"
    STRANGER = "a key that does not exist"


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the tour, and the status, body and Cache-Status that it promises."""

    title: str
    target: str
    who: Who
    status: int
    body: str
    cache: str


FORBIDDEN = '{"data": null, "code": "Forbidden", "message": "Unauthorized request"}'
HUGS = (
    '{"data": {"extra": "Counter type not supported: hugs", "invalid_params": "counter"},'
    ' "code": "InvalidParams", "message": "Invalid or unsupported params: counter"}'
)

STEPS = (
    Step("A miss: the gateway asks the service, and keeps the answer.",
         "/total/views/article/23", Who.REPORTS, 200, '{"totals": 231}', "fwd=uri-miss; stored"),
    Step("The same again: a hit, from the cache.",
         "/total/views/article/23", Who.REPORTS, 200, '{"totals": 231}', "hit; ttl="),
    Step("An institution's own numbers: the gateway adds lboro's stored credential.",
         COLLECTION, Who.REPORTS, 200, '{"timeline": {"total": 10}}', "fwd=uri-miss; stored"),
    Step("The same for a client that only knows basic auth: the key is the password.",
         COLLECTION, Who.REPORTS_BASIC, 200, '{"timeline": {"total": 10}}', "hit; ttl="),
    Step("Parameters in another order are the same question.",
         f"/lboro/timeline/total/views/collection/15?{'&'.join(reversed(WINDOW.split('&')))}",
         Who.REPORTS, 200, '{"timeline": {"total": 10}}', "hit; ttl="),
    Step("Another tenant is refused them, cached or not, with the service's own words.",
         COLLECTION, Who.DASHBOARDS, 403, FORBIDDEN, "detail="),
    Step("The service's errors come through unchanged.",
         "/total/hugs/article/215", Who.REPORTS, 400, HUGS, "fwd="),
    Step("Public numbers without a key, since the demo allows it.",
         "/total/views/article/23", Who.NOBODY, 200, '{"totals": 231}', "hit; ttl="),
    Step("A key that does not exist is refused by the gateway itself.",
         "/total/views/article/23", Who.STRANGER, 401, '"code": "GatewayUnauthenticated"', "detail="),
)  # fmt: skip


def headers_for(who: Who, keys: dict[str, str]) -> dict[str, str]:
    """The request headers by which a step identifies itself."""
    match who:
        case Who.REPORTS:
            return {"X-API-Key": keys["reports"]}
        case Who.REPORTS_BASIC:
            pair = base64.b64encode(f"any:{keys['reports']}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        case Who.DASHBOARDS:
            return {"X-API-Key": keys["dashboards"]}
        case Who.STRANGER:
            return {"X-API-Key": "sgw_0123456789_" + "0" * 43}
        case Who.NOBODY:
            return {}


def curl_line(step: Step, base: str, keys: dict[str, str]) -> str:
    """The step as a line to paste into a shell."""
    if step.who is Who.REPORTS_BASIC:
        given = f"-u any:{keys['reports']} "
    else:
        given = "".join(f"-H {shlex.quote(f'{n}: {v}')} " for n, v in headers_for(step.who, keys).items())
    return f"curl -i {given}{shlex.quote(base + step.target)}"


def shortfalls(step: Step, answer: httpx.Response) -> list[str]:
    """What of a step's promise the answer does not keep; empty when all is as promised."""
    missed = []
    if answer.status_code != step.status:
        missed.append(f"status {step.status} was promised, {answer.status_code} came")
    exact = step.who is not Who.STRANGER
    if (answer.text != step.body) if exact else (step.body not in answer.text):
        missed.append(f"the body promised was {step.body}")
    if step.cache not in answer.headers.get("cache-status", ""):
        missed.append(f"Cache-Status with {step.cache!r} was promised")
    return missed
