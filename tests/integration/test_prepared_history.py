"""Prepared answers beside the proxy's, through a random history of edits, purges, refusals and time: whatever the
fast path answers, the proxy would answer at that moment, to the byte."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.cache.purges import PurgeScope
from gateway.proxy.request import Request
from gateway.proxy.response import ONE_WRITE
from gateway.server.fast_path import HEAD, FastPath
from tests.integration.house import FakeClock, House, housed
from tests.integration.stage import Stage, staged

NOW = datetime(2031, 5, 20, 12, tzinfo=UTC).timestamp()
STEPS = 200
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 20))]
WINDOW = b"?start_date=2014-01-01&end_date=2014-03-31"
TARGETS = [
    b"/lboro/timeline/month/views/article/23" + WINDOW,
    b"/monash/timeline/month/views/article/23" + WINDOW,
    b"/lboro/total/views/article/23",
    b"/total/views/article/23",
    b"/timeline/fortnight/views/article/23",
]
TENANTS = {"reports": ["lboro"], "papers": ["lboro", "monash"], "others": ["monash"]}
PEERS = ["127.0.0.1", "192.0.2.7", "203.0.113.7"]
"""A trusted proxy, an address in a tenant's network, and one in nobody's."""
LINES = [
    (b"accept-encoding", b"gzip"), (b"if-none-match", b"*"), (b"if-none-match", b'"other"'),
    (b"if-modified-since", b"Wed, 25 Nov 2099 00:00:00 GMT"), (b"origin", b"https://papers.example"),
    (b"origin", b"https://pages.example"), (b"x-forwarded-for", b"192.0.2.7"),
    (b"x-forwarded-for", b"203.0.113.7"), (b"x-real-ip", b"203.0.113.7"), (b"via", b"1.1 squid"),
    (b"sec-fetch-site", b"cross-site"), (b"cache-control", b"max-age=0"), (b"range", b"bytes=0-3"),
    (b"user-agent", b"any"), (b"x-request-id", b"mine"),
]  # fmt: skip
OWN = {b"x-request-id", b"ratelimit"}
"""Headers in which each response differs from any other."""
SETTINGS: dict[str, Any] = {
    "allow_anonymous": True,
    "anonymous_requests_per_second": 10_000.0,
    "anonymous_burst": 10_000,
    "invalid_keys_per_minute": 0,
    "public_hosts": ["gateway.test"],
    "trusted_proxies": ["127.0.0.1"],
    "lifetime_totals": 300.0,
    "log_hits": 0,
}
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        for tenant, institutions in TENANTS.items():
            stage.tenant(tenant, *institutions)
        yield stage


class History:
    """A house, what happens to it, and what its callers send."""

    def __init__(self, house: House, stage: Stage, clock: FakeClock, seed: int) -> None:
        self.house, self.registry, self.clock = house, stage.registry(), clock
        self.draw = random.Random(seed)
        for tenant in TENANTS:
            self.registry.change(tenant, enabled=True, networks=[], origins=[], lifetimes={})
        self.keys = [self.registry.add_key(tenant) for tenant in TENANTS]
        self.scopes: list[dict[str, Any]] = []
        self.lane: FastPath = house.app.public.fast_path
        self.followed: Any = house.resolver.profile.registry  # type: ignore[attr-defined]

    async def happens(self) -> None:
        """One thing that may change an answer."""
        draw, tenant = self.draw, self.draw.choice(list(TENANTS))
        match draw.randrange(8):
            case 0:
                origins = draw.choice([[], ["https://papers.example"], ["*"]])
                self.registry.change(tenant, origins=origins)
            case 1:
                self.registry.change(tenant, lifetimes=draw.choice([{}, {"totals": 60.0}]))
            case 2:
                for each in TENANTS:
                    self.registry.change(each, networks=[])
                self.registry.change(tenant, networks=["192.0.2.0/24"])
            case 3 if draw.random() < 0.2:
                self.registry.change(tenant, enabled=False)
            case 4:
                self.keys[draw.randrange(len(self.keys))] = self.registry.add_key(tenant)
            case 5 if draw.random() < 0.2:
                key_id = draw.choice(self.keys).split("_")[1]
                self.registry.revoke_key(key_id)
            case 6:
                scope = draw.choice([PurgeScope.everything(), PurgeScope.institution("lboro")])
                await self.house.resolver.purges.purge(scope, hard=draw.random() < 0.5)
            case 7:
                self.clock.time += draw.choice([0.4, 1.0, 59.0, 299.5, -3.0])
            case _:
                self.registry.change(tenant, enabled=True)
        self.followed.refresh()

    def asks(self) -> dict[str, Any]:
        """A request's scope, often one that was asked before."""
        draw = self.draw
        if len(self.scopes) > 5 and draw.random() < 0.8:
            return draw.choice(self.scopes[-15:])
        lines = draw.sample(LINES, draw.choice([0, 0, 1, 1, 2]))
        how = draw.choice(["key", "key", "bearer", "both", "nobody", "nobody"])
        one = draw.choice(self.keys).encode()
        other = one if draw.random() < 0.5 else draw.choice(self.keys).encode()
        lines += [(b"x-api-key", one)] if how in ("key", "both") else []
        lines += [(b"authorization", b"Bearer " + other)] if how in ("bearer", "both") else []
        draw.shuffle(lines)
        method, target = draw.choice(["GET", "GET", "HEAD"]), draw.choice(TARGETS)
        self.scopes.append(scope_of(method, target, lines, draw.choice(PEERS)))
        return self.scopes[-1]

    async def asked(self, scope: dict[str, Any], *, by_head: bool) -> bool:
        """Compare what the fast path answers with what the proxy does; whether it answered at all."""
        head, peer = head_of(scope), scope["client"][0]
        found = self.lane.answer(head, peer) if by_head else self.lane.ready(scope)
        if by_head:
            scope[HEAD] = head
        expected = await answered(self.lane.proxy.serve if found is not None else self.lane, scope)
        if found is None:
            return False
        given = parsed(found) if isinstance(found, bytes) else found
        assert comparable(given) == comparable(expected), (head, peer)
        return True


def scope_of(method: str, target: bytes, lines: Sequence[tuple[bytes, bytes]], peer: str) -> dict[str, Any]:
    path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": path,
        "path": path.decode(),
        "query_string": query,
        "headers": [(b"host", b"gateway.test"), *lines],
        "client": (peer, 1),
        "gateway.target": target,
    }


def head_of(scope: dict[str, Any]) -> bytes:
    lines = b"".join(b"%s: %s\r\n" % line for line in scope["headers"])
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (scope["method"].encode(), scope["gateway.target"], lines)


async def answered(way: Any, scope: dict[str, Any]) -> Answer:
    """What comes of a scope on this way."""
    taken: list[Answer] = []

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def take(status: int, headers: Any, body: bytes) -> bool:
        taken.append((status, list(headers), body))
        return True

    async def send(_: Any) -> None:
        raise AssertionError("it goes in one write")

    scope = scope | {ONE_WRITE: take}
    if isinstance(way, FastPath):
        await way(scope, receive, send)
    else:
        await way(Request.of(scope, receive), scope, send)
    (answer,) = taken
    return answer


def parsed(response: bytes) -> Answer:
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return int(first.split()[1]), headers, body


def comparable(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    status, headers, body = answer
    return status, sorted(line for line in headers if line[0] not in OWN), body


@pytest.mark.parametrize("totals", ["credential", "public"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_comes_by_the_lane_is_what_the_proxy_would_answer(
    stage: Stage, totals: str, seed: int
) -> None:
    clock, came = FakeClock(NOW), Counter[bool]()
    async with housed(stage, clock, totals_scope=totals, **SETTINGS) as house:
        history = History(house, stage, clock, seed)
        for step in range(STEPS):
            if step % 8 == 0:
                await history.happens()
            scope, by_head = history.asks(), history.draw.random() < 0.5
            for _ in range(3):
                came[await history.asked(dict(scope), by_head=by_head)] += 1
    assert came[True] > STEPS / 10
