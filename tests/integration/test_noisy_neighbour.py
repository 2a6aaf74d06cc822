"""A neighbour does its worst while a quiet tenant asks for something new now and then: it is answered, and soon.

Each prints its figures with ``-s``. The short forms run with the tests, the long ones with ``make drill``.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.chaos_service import ChaosService, chaos_service
from tests.integration.load import Answer, Connection
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer

pytestmark = pytest.mark.serial

RATE = 4
INTERVAL = 1 / RATE
WITHIN = 3 * INTERVAL
BUSY = 0.6
"""Seconds by which a busy machine, and the service itself, may delay an answer."""
QUEUE, PER_TENANT = 60, 40
NOISY = ("noisy", "noisy2", "noisy3")
SETTINGS = {
    "budget": f"{RATE}/s",
    "budget_burst": 1,
    "queue_max": QUEUE,
    "queue_max_per_tenant": PER_TENANT,
    "caller_timeout": 10,
    "allow_anonymous": "true",
    "log_level": "warning",
}


@dataclass(frozen=True)
class Length:
    """Of a drill: seconds in all, and between two queries of the quiet tenant."""

    seconds: float
    pause: float


SHORT, LONG = Length(4, 1), Length(60, 5)
lengths = pytest.mark.parametrize(
    "length", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.drill)]
)


@dataclass
class Street:
    """Two gateways before a service that can be made to misbehave, and who lives there."""

    stage: Stage
    service: ChaosService
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    noise: Counter[int] = field(default_factory=Counter)

    def target(self, word: str, institution: str = "lboro") -> str:
        """One that nobody has asked for, inside an institution or (empty) outside."""
        path = f"/timeline/month/views/article/{next(self.numbers)}?start_date=2014-01-01&end_date=2014-06-30"
        return f"{institution and '/'}{institution}{path}&x={word}"

    def connection(self, number: int, tenant: str = "noisy") -> Connection:
        ports = [gateway.port for gateway in self.stage.gateways]
        return Connection(ports[number % len(ports)], self.stage.keys.get(tenant, ""))

    async def ask(self, connection: Connection, target: str, pause: float = 0.05) -> None:
        """One request of a noisy neighbour, who does not heed what it is told of when to come back."""
        answer = await connection.get(target)
        self.noise[answer.status] += 1
        if answer.status != 200:
            await asyncio.sleep(pause)


@contextmanager
def street(redis: RedisServer, prefix: str) -> Iterator[Street]:
    with staged() as stage, chaos_service(stage.sandbox.port) as service:
        extra = {"upstream": service.url, "redis_url": redis.url, "redis_prefix": prefix, **SETTINGS}
        stage.environment |= {f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in extra.items()}
        for tenant in ("quiet", *NOISY):
            stage.tenant(tenant, "lboro", "monash")
        stage.serve_several(2)
        yield Street(stage, service)
        for gateway in stage.gateways:
            gateway.kill()  # else it would first make the calls that are queued


async def refused_targets(street: Street, tenant: str, refusal: str) -> None:
    """Ever new targets that something in front of the service refuses."""
    street.service.refuses, street.service.refusal = "firewalled", refusal
    institution = "lboro" if tenant else ""

    async def one(number: int) -> None:
        with closing(street.connection(number, tenant)) as connection:
            while True:
                await street.ask(connection, street.target("firewalled", institution))

    await asyncio.gather(*(one(number) for number in range(8)))


async def odd_questions(street: Street, kinds: int) -> None:
    """Questions that the service refuses in its own words, with the credential that the quiet tenant holds too."""
    street.service.refuses, street.service.refusal = "odd", "403-json"
    targets = [street.target("odd") for _ in range(kinds)]

    async def one(number: int) -> None:
        with closing(street.connection(number)) as connection:
            while True:
                await street.ask(connection, targets[number % kinds])

    await asyncio.gather(*(one(number) for number in range(4)))


async def callers_who_leave(street: Street) -> None:
    """Twenty at a time ask for what cannot be stored, and leave."""
    street.service.unstorable = "unstorable"
    port = street.stage.gateways[0].port
    head = f"HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-API-Key: {street.stage.keys['noisy']}\r\n\r\n"

    async def one() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET /lboro/nothing/known/{next(street.numbers)}?x=unstorable {head}".encode())
            await asyncio.sleep(0.1)
            street.noise[0] += 1
        finally:
            writer.close()

    while True:
        await asyncio.gather(*(one() for _ in range(20)))
        await asyncio.sleep(0.1)


async def full_queue(street: Street) -> None:
    """Three tenants keep the queue full."""

    async def one(number: int) -> None:
        with closing(street.connection(number, NOISY[number % len(NOISY)])) as connection:
            while True:
                await street.ask(connection, street.target("much"), pause=0.5)

    await asyncio.gather(*(one(number) for number in range(3 * PER_TENANT)))


TROUBLES: dict[str, Callable[[Street], Awaitable[None]]] = {
    "403-html": lambda street: refused_targets(street, "noisy", "403-html"),
    "403-html, anonymous": lambda street: refused_targets(street, "", "403-html"),
    "503-html": lambda street: refused_targets(street, "noisy", "503-html"),
    "resets": lambda street: refused_targets(street, "noisy", "reset"),
    "one odd question": lambda street: odd_questions(street, 1),
    "odd questions": lambda street: odd_questions(street, 4),
    "callers who leave": callers_who_leave,
    "a full queue": full_queue,
}
USUAL = {"403-html", "callers who leave", "a full queue"}
"""A neighbour of each kind; all are for the exhaustive run."""


async def quiet(street: Street, length: Length) -> list[Answer]:
    """What the quiet tenant gets, for something new each time, at both gateways."""
    answers: list[Answer] = []
    until = time.monotonic() + length.seconds
    while (begun := time.monotonic()) < until:
        with closing(street.connection(len(answers), "quiet")) as connection:
            answers.append(await connection.get(street.target("quiet")))
        await asyncio.sleep(max(0.0, length.pause - (time.monotonic() - begun)))
    return answers


@lengths
@pytest.mark.parametrize(
    "trouble",
    [pytest.param(name, marks=() if name in USUAL else pytest.mark.exhaustive) for name in TROUBLES],
)
async def test_a_quiet_tenant_is_answered_whatever_its_neighbour_does(
    trouble: str, length: Length, shared_redis: RedisServer, prefix: str
) -> None:
    with street(shared_redis, prefix) as scene:
        noise = asyncio.ensure_future(TROUBLES[trouble](scene))
        await asyncio.sleep(1.0)  # the neighbour is at it before
        answers = await quiet(scene, length)
        assert not noise.done() or noise.exception() is None, noise.exception()
        noise.cancel()
        with suppress(asyncio.CancelledError):
            await noise
    seconds = sorted(answer.seconds for answer in answers)
    p95 = seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
    statuses = dict(Counter(answer.status for answer in answers))
    print(
        f"{trouble}: the neighbour {dict(sorted(scene.noise.items()))}; the quiet tenant {statuses},"
        f" half within {seconds[len(seconds) // 2]:.2f} s, p95 {p95:.2f} s, slowest {seconds[-1]:.2f} s"
    )
    assert statuses == {200: len(answers)}, [answer for answer in answers if answer.status != 200]
    assert p95 <= WITHIN + BUSY
