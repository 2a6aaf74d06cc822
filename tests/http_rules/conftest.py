"""What all checks of HTTP's rules share: one scripted origin, and gateways on each backend by each server.

A check asks for ``gateway`` (any one origin's cache) or ``statistics`` (the service's, for tenants), and runs once
for each setup. Gateways are started once for all checks, so each check has a target of its own: ``path``, or
``item`` for a question that the service is known to answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.http_rules.origin import Origin, origin_server
from tests.http_rules.rig import ELSEWHERE, SETUPS, Gateway, Rig, Setup
from tests.redis_server import RedisServer

MEMORY = "memory://"
USUAL = {Setup("memory", "lane"), Setup("redis", "no-lane")}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each rule is checked on memory:// with the fast path, and on a real Redis without; the exhaustive run checks
    it in every way. That the app answers alike under others' servers is for ``tests/servers``."""
    for item in items:
        if is_left_out(item):
            item.add_marker("exhaustive")


def is_left_out(item: pytest.Item) -> bool:
    """Whether its setup is for the exhaustive run."""
    if not (isinstance(item, pytest.Function) and hasattr(item, "callspec")):
        return False
    setup = item.callspec.params.get("setup")
    return isinstance(setup, Setup) and setup not in USUAL


@pytest.fixture(scope="package")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The origin, and the gateways before it."""
    with origin_server() as origin, ExitStack() as stack:
        yield Rig(origin, tmp_path_factory.mktemp("rules"), stack)


@pytest.fixture
def origin(rig: Rig) -> Iterator[Origin]:
    """Says to each target what a check tells it to."""
    yield rig.origin
    rig.origin.let_go()


@pytest.fixture
def path() -> str:
    """A target that no other check uses."""
    return f"/{secrets.token_hex(6)}"


@pytest.fixture
def item() -> int:
    """The id of an article that no other check asks about."""
    return 1_000_000 + secrets.randbelow(10**12)


@pytest.fixture(params=SETUPS, ids=str)
def setup(request: pytest.FixtureRequest) -> Setup:
    """Each way to run a gateway in turn."""
    assert isinstance(request.param, Setup)
    return request.param


@pytest.fixture
def admin(setup: Setup) -> None:
    """For a check that needs the admin listener, which a server of others does not start."""
    if setup.server in ELSEWHERE:
        pytest.skip("no admin listener under this server")


@pytest.fixture
def redis_url(setup: Setup, request: pytest.FixtureRequest) -> str:
    """Where the setup's gateways keep what they store."""
    if setup.backend == "memory":
        return MEMORY
    server: RedisServer = request.getfixturevalue("shared_redis")
    return server.url


Start = Callable[..., Gateway]


@pytest.fixture
def start(rig: Rig, setup: Setup, redis_url: str) -> Iterator[Start]:
    """The gateway of a profile, and of a number where a check needs several that share a Redis."""
    asked: list[Gateway] = []

    def started(profile: str = "generic", number: int = 0) -> Gateway:
        asked.append(rig.gateway(setup, profile, redis_url, number))
        return asked[-1]

    yield started
    for gateway in asked:
        assert "Traceback" not in gateway.process.output


@pytest.fixture
def gateway(start: Start) -> Gateway:
    """A plain shared cache before the origin."""
    return start("generic")


@pytest.fixture
def statistics(start: Start) -> Gateway:
    """A gateway that takes the origin for the service."""
    return start("statistics")
