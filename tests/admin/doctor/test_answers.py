"""What the service's answers say about credentials, caching and clocks."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.doctor.finding import Finding, State
from gateway.admin.doctor.service import PUBLIC, Asked, Call, answer_findings, not_asked
from gateway.cache.dates import format_date
from gateway.errors import GateClosed, UpstreamRedirected, UpstreamTimeout
from gateway.tenants.tenant import Credential
from gateway.upstream.client import UpstreamResponse

NOW = 1_900_000_000.0
LBORO = Credential("lboro", "lboro", "f" * 64, b"Basic aHVudGVyMg==")
ASKED = Asked("/lboro/timeline/total/views/article/1", LBORO, ("reports", "cron"))
JSON, HTML = b"application/json; charset=UTF-8", b"text/html"
ERROR = b'{"message": "as asked for", "code": "Any"}'
BODIES = {200: b'{"timeline": null, "totals": 7}'}
OK, NOTE, UNKNOWN, WARNING, PROBLEM = State


def call(
    status: int = 200, kind: bytes = JSON, asked: Asked = ASKED, body: bytes | None = None, **headers: Any
) -> Call:
    named = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    said = BODIES.get(status, ERROR) if body is None else body
    answer = UpstreamResponse(status, [(b"content-type", kind), *named], said)
    return Call(asked, answer, NOW, NOW)


def findings(*calls: Call, obey: bool = True) -> list[Finding]:
    return list(answer_findings(calls, obey=obey, shortest=300.0))


def only(check: str, *calls: Call, obey: bool = True) -> Finding:
    (found,) = [each for each in findings(*calls, obey=obey) if each.check == check]
    return found


@pytest.mark.parametrize(
    ("made", "state", "said"),
    [
        (call(), OK, "accepts"),
        (call(403), PROBLEM, "refuses"),
        (call(401, HTML), PROBLEM, "refuses"),
        (call(403, HTML), WARNING, "blocks us (403)"),
        (call(429), WARNING, "blocks us (429)"),
        (call(503, HTML), WARNING, "blocks us (503)"),
        (call(503), UNKNOWN, "answered 503"),
        (call(404), UNKNOWN, "answered 404"),
        (call(200, HTML), UNKNOWN, "answered 200 (text/html)"),
        (call(302, HTML), UNKNOWN, "answered 302"),
        (call(body=b"{}"), UNKNOWN, "answered 200 (application/json; charset=UTF-8)"),
        (call(body=b'{"series": {}}'), WARNING, "another shape than the service's: series"),
        (call(403, body=b'{"message": "Forbidden"}'), WARNING, "blocks us (403)"),
        (call(503, body=b"{}"), WARNING, "blocks us (503)"),
        (Call(ASKED, error=UpstreamRedirected("elsewhere", place="//x\x1b")), WARNING, "redirected to //x\\x1b,"),
        (Call(ASKED, error=UpstreamTimeout("The service did not answer in time.")), UNKNOWN, "in time"),
        (Call(ASKED, error=GateClosed("The service seems to block the gateway.")), UNKNOWN, "seems to block"),
        (Call(ASKED), UNKNOWN, "no answer"),
        (Call(ASKED, withheld=True), WARNING, "keeps lboro at lboro"),
    ],
)
def test_credentials(made: Call, state: State, said: str) -> None:
    finding = only("upstream.credentials", made)
    assert finding.state is state
    assert said in finding.what
    assert "lboro at lboro (of reports, cron)" in finding.what
    assert (finding.advice == "") is (state is OK)
    assert "aHVudGVyMg" not in str(finding)


def test_who_is_refused_is_told_how_to_set_it_right() -> None:
    advice = only("upstream.credentials", call(403)).advice
    assert advice.startswith("stats-gateway tenant add reports --institution lboro --username lboro")


def test_a_public_query_says_what_it_can() -> None:
    public = Asked(PUBLIC)
    assert only("upstream.answer", call(asked=public)).state is OK
    assert only("upstream.answer", call(404, asked=public)).state is UNKNOWN
    assert only("upstream.answer", Call(public)).state is UNKNOWN


@pytest.mark.parametrize(
    ("headers", "state", "said"),
    [
        ({}, OK, "nothing"),
        (
            {"cache_control": b"max-age=3600, public"},
            OK,
            "nothing the service says prevents caching (max-age=3600",
        ),
        ({"cache_control": b"no-store"}, WARNING, "costs a call"),
        ({"cache_control": b"no-cache"}, WARNING, "costs a call"),
        ({"cache_control": b"max-age=0"}, WARNING, "stale at once"),
        ({"cache_control": b"s-maxage=0, max-age=900"}, WARNING, "stale at once"),
        ({"cache_control": b"max-age=60", "age": b"60"}, WARNING, "stale at once"),
        ({"cache_control": b"max-age=60"}, NOTE, "60 s only"),
        ({"cache_control": b"private"}, NOTE, "without a credential are not kept"),
        ({"cache_control": b"max-age=900, must-revalidate"}, NOTE, "stand in"),
        ({"cache_control": b"no-store", "cdn_cache_control": b"max-age=900"}, OK, "nothing"),
        ({"cache_control": b"max-age=often"}, WARNING, "stale at once"),
    ],
)
def test_what_prevents_caching(headers: dict[str, Any], state: State, said: str) -> None:
    finding = only("upstream.caching", call(**headers))
    assert finding.state is state
    assert said in finding.what
    assert ("UPSTREAM_DIRECTIVES=ignore" in finding.advice) is (state is not OK)


def test_what_is_ignored_is_no_fault() -> None:
    finding = only("upstream.caching", call(cache_control=b"no-store"), obey=False)
    assert finding.state is OK
    assert "ignored" in finding.what


def test_the_worst_answer_counts_and_refusals_do_not() -> None:
    mild, severe = call(cache_control=b"private"), call(cache_control=b"max-age=0")
    assert only("upstream.caching", mild, severe).state is WARNING
    assert [each.check for each in findings(call(403, cache_control=b"no-store"))] == ["upstream.credentials"]


@pytest.mark.parametrize(
    ("there", "state", "said"),
    [
        (0, OK, "agree"),
        (-5, OK, "agree"),
        (5, OK, "agree"),
        (-40, WARNING, "39 s ahead"),
        (40, WARNING, "40 s behind"),
    ],
)
def test_clocks(there: float, state: State, said: str) -> None:
    finding = only("upstream.clock", call(date=format_date(NOW + there)))
    assert finding.state is state
    assert said in finding.what


@pytest.mark.parametrize("date", [b"", b"yesterday"])
def test_no_date_tells_no_time(date: bytes) -> None:
    assert not [each for each in findings(call(date=date)) if each.check == "upstream.clock"]


def test_what_was_not_asked_is_unknown() -> None:
    (finding,) = not_asked([ASKED], "you said no")
    assert (finding.state, finding.what) == (UNKNOWN, "credentials not tried: lboro at lboro: you said no")
    (public,) = not_asked([Asked(PUBLIC)], "you said no")
    assert public.what.startswith("the service was not asked anything")
