"""Real gateways before a real origin: callers who hang up, and tenants who ask for more than there is room for."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from tests.integration.crowd import Client, Reply
from tests.integration.stage import Stage, staged
from tests.redis_server import RedisServer, free_port
from tests.upstream.origin import Peer, serving
from tests.wire import resets

pytestmark = pytest.mark.serial

FAN_OUT = 120
NOT_KEPT = "Cache-Control: no-store"
SHAPES = {"timeline": '{"timeline": {"2014-01": 7}}', "total": '{"totals": 7}'}


class Service:
    """Answers at once; what is no known endpoint may not be stored. ``asked`` are the targets in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def behave(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            method, target, _ = head.decode("latin-1").split(" ", 2)
            if method == "POST":
                await peer.reader.readexactly(2)
            self.asked.append(target)
            family = next((name for name in SHAPES if f"/{name}/" in target), "")
            body = SHAPES.get(family, "{}")
            lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}"]
            lines += [] if family else [NOT_KEPT]
            await peer.say(("\r\n".join([*lines, "", ""]) + body).encode())

    def matching(self, part: str) -> list[str]:
        return [target for target in self.asked if part in target]


@pytest.fixture
def stage(shared_redis: RedisServer, prefix: str) -> Iterator[Stage]:
    with staged(
        redis_url=shared_redis.url,
        redis_prefix=prefix,
        budget_burst=1,
        refresh_floor=0,
        pass_methods="POST",
        log_level="warning",
    ) as stage:
        for tenant in (*NOISY, "quiet"):
            stage.tenant(tenant, "lboro")
        yield stage


NOISY = [f"noisy{i}" for i in range(6)]


@asynccontextmanager
async def gateways(stage: Stage, count: int, **settings: object) -> AsyncIterator[tuple[Service, list[int]]]:
    service = Service()
    async with serving(service.behave, limit=200) as origin:
        started = await asyncio.to_thread(partial(stage.serve_several, count, upstream=origin.url, **settings))
        yield service, [gateway.port for gateway in started]
        for gateway in started:
            gateway.kill()  # else it would first make the calls that are queued
    await asyncio.sleep(0)  # what was closed is gone


async def hangs_up(port: int, request: bytes, after: float) -> None:
    """A client that sends its request, leaves, and says so with a reset."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(after)
    resets(writer.get_extra_info("socket"))
    writer.close()
    await writer.wait_closed()


def request(target: str, key: str, *fields: str, method: str = "GET", body: str = "") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: gateway", f"X-API-Key: {key}", *fields]
    lines += [f"Content-Length: {len(body)}"] if body else []
    return ("\r\n".join([*lines, "", ""]) + body).encode()


def series(number: int) -> str:
    return f"/lboro/timeline/month/views/article/{number}?start_date=2014-01-01&end_date=2014-06-30"


REQUESTS = {
    "passed": ("/odd/passed/{}", (), "POST", "{}"),
    "no-store": ("/lboro/timeline/month/views/article/{}?x=left", ("Cache-Control: no-store",), "GET", ""),
    "an unknown endpoint whose last answer was not kept": ("/odd/unknown/{}", (), "GET", ""),
}


@pytest.mark.parametrize("redis", [True, False], ids=["redis", "no-redis"])
async def test_what_cannot_be_kept_is_not_asked_for_those_who_left(stage: Stage, redis: bool) -> None:
    elsewhere = {} if redis else {"redis_url": f"redis://127.0.0.1:{free_port()}/0"}
    async with gateways(stage, 1, budget="4/s", **elsewhere) as (service, (port,)):
        key, numbers = stage.keys["noisy0"], itertools.count()
        for (kind, (target, fields, method, body)), after in itertools.product(REQUESTS.items(), (0.0, 0.5)):
            if "unknown" in kind:
                assert (await Client(port, target.format(next(numbers)), key).ask()).status == 200
            service.asked.clear()
            leaving = [
                hangs_up(
                    port, request(target.format(next(numbers)), key, *fields, method=method, body=body), after
                )
                for _ in range(20)
            ]
            await asyncio.gather(*leaving)
            for _ in range(3):
                assert (await Client(port, series(next(numbers)), stage.keys["quiet"]).ask()).status == 200
            # The first may have had its slot before its client left, and each after that within the time that it
            # stayed.
            assert len(service.asked) - 3 <= 2 + 5 * after, (kind, after, service.asked)


async def test_what_is_kept_goes_behind_those_who_wait(stage: Stage) -> None:
    async with gateways(stage, 2, budget="4/s") as (service, ports):
        leaving = [hangs_up(ports[i % 2], request(series(i), stage.keys["noisy0"]), 0.0) for i in range(100, 120)]
        await asyncio.gather(*leaving)
        for number in range(4):
            assert (await Client(ports[number % 2], series(number), stage.keys["noisy0"]).ask()).status == 200
        before = len(service.asked)
        async with asyncio.timeout(30):
            while len(service.asked) < 24:
                await asyncio.sleep(0.1)
    assert before <= 4 + 3, service.asked


@pytest.mark.exhaustive
async def test_a_fan_out_with_a_client_timeout_converges(stage: Stage) -> None:
    """Beside another tenant's, and each time through another gateway."""
    async with gateways(stage, 2, budget="40/s") as (service, ports):
        over = asyncio.Event()

        async def busy(which: int) -> None:
            number = which
            while not over.is_set():
                await Client(ports[which], f"/total/views/article/{number}", stage.keys["quiet"]).ask()
                number += 2

        others = [asyncio.create_task(busy(which)) for which in range(2)]
        answered: list[int] = []
        for attempt in range(40):
            answers = await asyncio.gather(*(impatient(ports[attempt % 2], i, stage) for i in range(FAN_OUT)))
            answered.append(sum(answers))
            if answered[-1] == FAN_OUT:
                break
        over.set()
        await asyncio.gather(*others)
    print(f"\nanswered of {FAN_OUT} at each attempt: {answered}", flush=True)
    assert answered[-1] == FAN_OUT
    assert Counter(service.matching("/timeline/")).most_common(1)[0][1] == 1


async def impatient(port: int, number: int, stage: Stage) -> bool:
    try:
        return (await Client(port, series(number), stage.keys["noisy0"]).ask(deadline=1.0)).status == 200
    except TimeoutError:
        return False


@pytest.mark.parametrize("redis", [True, False], ids=["redis", "no-redis"])
async def test_a_full_queue_never_refuses_a_quiet_tenant(stage: Stage, redis: bool) -> None:
    """Six tenants queue 1,700 queries where there is room for 1,000."""
    elsewhere = {} if redis else {"redis_url": f"redis://127.0.0.1:{free_port()}/0"}
    settings = {"queue_max": 1_000, "queue_max_per_tenant": 300, "caller_timeout": 150, "max_connections": 4_000}
    count = 2 if redis else 1
    async with gateways(stage, count, budget="3/s", **settings, **elsewhere) as (_, ports):
        noisy = [
            asyncio.create_task(Client(ports[i % count], series(i), stage.keys[NOISY[i % 6]]).ask(180))
            for i in range(1_700)
        ]
        refused: list[Reply] = []
        async with asyncio.timeout(90):
            while len(refused) < 400:
                await asyncio.sleep(0.2)
                refused = [task.result() for task in noisy if task.done() and task.result().status == 503]
        quiet = [
            await Client(ports[i % count], f"/total/views/article/{i}", stage.keys["quiet"]).ask(180)
            for i in range(3)
        ]
        codes = Counter(b"GatewayQueueFull" in reply.body for reply in refused)
        for task in noisy:
            task.cancel()
        await asyncio.gather(*noisy, return_exceptions=True)
    assert [reply.status for reply in quiet] == [200] * 3
    assert codes == {True: len(refused)}
    # Honest: who was refused had hundreds before him, at three a second.
    waits = [int(reply.headers["retry-after"]) for reply in refused]
    assert min(waits) >= 60, sorted(waits)[:10]
    assert max(waits) <= 400


async def test_no_call_is_made_for_nobody_where_an_answer_is_its_own_askers_alone(
    shared_redis: RedisServer, prefix: str
) -> None:
    """In front of any origin: no place is kept for whoever is sent away, since nobody may have his answer."""
    settings = {"redis_url": shared_redis.url, "redis_prefix": prefix, "log_level": "warning"}
    with staged(**settings, profile="generic", budget="30/m", budget_burst=1, caller_timeout=1) as stage:
        async with gateways(stage, 1) as (service, (port,)):
            await persistent(port, "/odd/unknown/0")
            late, *_ = await persistent(port, "/odd/unknown/1")
    assert late.status == 503
    assert b"in time." in late.body
    assert int(late.headers["retry-after"]) > 0
    assert len(service.matching("/odd/unknown/1")) == 1


async def persistent(port: int, target: str) -> list[Reply]:
    """What a client gets that comes back when it is told to, until it has its answer."""
    replies = [await Client(port, target).ask()]
    async with asyncio.timeout(60):
        while replies[-1].status != 200:
            await asyncio.sleep(int(replies[-1].headers["retry-after"]))
            replies.append(await Client(port, target).ask())
    return replies
