"""One fleet of two gateways for all tests of the console that break nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.admin.web.visitor import SETTINGS, TOKEN, Visitor
from tests.integration.stage import Process, Stage, staged
from tests.redis_server import RedisServer

Visit = Callable[..., Visitor]


def admin_url(gateway: Process) -> str:
    return f"http://127.0.0.1:{gateway.admin_port}"


@pytest.fixture(scope="package")
def fleet(shared_redis: RedisServer) -> Iterator[Stage]:
    """Two processes that share a Redis, with two tenants."""
    with staged(redis_url=shared_redis.url, redis_prefix="web", budget="unlimited", **SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("dash")
        stage.serve()
        stage.serve()
        yield stage


@pytest.fixture
def visit(fleet: Stage) -> Iterator[Visit]:
    """Signs somebody in, with a token (None: not at all), at the first process or the one given."""
    with ExitStack() as stack:

        def visitor(token: str | None = TOKEN, gateway: Process | None = None) -> Visitor:
            found = stack.enter_context(closing(Visitor(admin_url(gateway or fleet.gateways[0]))))
            if token is not None:
                assert found.sign_in(token).status_code == 303
            return found

        yield visitor
