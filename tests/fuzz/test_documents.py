"""Both listeners, fuzzed by their own OpenAPI documents: never a 500, never a traceback, always our shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.stage import Stage, staged
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer

TOKEN = "hunter2-admin"
PLANNED = settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    with staged(redis_url=shared_redis.url, redis_prefix="fuzz", budget="unlimited", admin_token=TOKEN) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


@pytest.mark.parametrize("listener", ["public", "admin"])
def test_no_request_that_a_document_allows_fails_inside(stage: Stage, listener: str) -> None:
    gateway = stage.gateways[0]
    if listener == "public":
        url, document = gateway.url, "/-/openapi.json"
        headers = {"X-API-Key": stage.keys["reports"]}
    else:
        url, document = f"http://127.0.0.1:{gateway.admin_port}", "/openapi.json"
        headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, **LOOPBACK, timeout=30) as client:
        described = client.get(document).json()
        schema = schemathesis.openapi.from_dict(described)
        results: Any = schema.get_all_operations()
        operations = [result.ok() for result in results]
        assert len(operations) > 8
        for operation in operations:
            _try(client, operation)
        assert client.get(document).status_code == 200
    assert "Traceback" not in gateway.output
    assert "internal_error" not in gateway.output


def _try(client: httpx.Client, operation: object) -> None:
    cases: st.SearchStrategy[object] = operation.as_strategy()  # type: ignore[attr-defined]

    @PLANNED
    @given(cases)
    def sent(case: object) -> None:
        words = case.as_transport_kwargs(base_url=str(client.base_url))  # type: ignore[attr-defined]
        known = {
            name: words[name] for name in ("params", "json", "content", "data") if words.get(name) is not None
        }
        try:
            answer = client.request(words["method"], words["url"], **known)
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError, TypeError):
            return  # no request that a client could send
        assert answer.status_code != 500, (words, answer.text)
        assert not answer.is_redirect, (words, answer.headers)
        if answer.status_code >= 400:
            assert {"message", "code", "data"} <= set(answer.json())

    sent()
