"""Replay: a day's requests, in compressed time, to several lanes at once; each answer judged as it arrives.

A lane is one contender with some replicas, behind a round-robin, where request *i* goes to replica *i* mod *n*, or
behind consistent hashing, where a target always goes to the same one. Every lane gets the same requests at the
same moments.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from zlib import crc32

import msgspec

from benchmarks.shield.model import meaning
from benchmarks.shield.traffic import BOUNDS, DAY, Kind, Request, Tenant
from benchmarks.shield.world import Answered, mark

SLOW = 30.0
"""Seconds of the day: who waits for longer would not have by the gateway's defaults, but had a 503."""
PATIENCE = 20.0
"""Wall seconds after which a client gives up."""
GRAIN = 0.5
"""Wall seconds by which an answer may be older than its bound: nginx counts whole seconds."""
YIELD_EVERY = 16
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
CLOSE = re.compile(rb"(?i)\r\nconnection: *close")
CONNECTIONS = 64
WARM_UP = "/total/views/project/1"


class Said(msgspec.Struct):
    """What the origin writes into an answer."""

    made: float
    asked: str
    as_: str = msgspec.field(name="as")


@dataclass
class Tally:
    """What came of a lane's requests. ``hits`` were made before they were asked for; ``wrong`` answer another
    question or were fetched with another credential; ``slow`` took longer than ``SLOW``; ``stale`` were older than
    their bound, ``oldest`` by how many wall seconds. ``answered`` is what is compared with a world later."""

    requests: int = 0
    hits: int = 0
    slow: int = 0
    stale: int = 0
    oldest: float = 0.0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    answered: Answered = field(default_factory=Counter)


@dataclass(frozen=True)
class Lane:
    """One contender with its replicas' ports, and each tenant's key; ``hashed``: behind consistent hashing."""

    contender: str
    ports: Sequence[int]
    keys: Sequence[str]
    hashed: bool = False

    @property
    def replicas(self) -> int:
        return len(self.ports)

    def replica(self, number: int, target: str) -> int:
        """Where a request goes, by its number in the day."""
        return (shard(target) if self.hashed else number) % self.replicas


def shard(target: str) -> int:
    """What a balancer knows a target by: the path and query as they came."""
    return crc32(target.encode())


@dataclass(frozen=True, slots=True)
class Question:
    """What a tenant asks, ready to be sent, and what its answer is judged by; ``bound`` in wall seconds."""

    head: bytes
    target: str
    username: str
    bound: float


@dataclass(slots=True, eq=False)
class Exchange:
    """One request under way; whoever takes longer than ``slow`` wall seconds is counted."""

    question: Question
    slow: float
    tally: Tally
    over: Callable[[Exchange], bool]
    """Takes it off what is under way; False where it was off already."""
    sent: float
    judge: Judge
    client: Client | None = None
    retried: bool = False

    def answered(self, status: int, body: bytes) -> None:
        """Judges the answer."""
        if not self.over(self):
            return
        if status != 200:
            self.tally.errors[str(status)] += 1
            return
        now = time.monotonic()
        self.tally.slow += now - self.sent > self.slow
        self.judge(self, body, now)

    def failed(self, why: str) -> None:
        """There is no answer."""
        if self.over(self):
            self.tally.errors[why] += 1


Judge = Callable[[Exchange, bytes, float], None]
"""Judges the body of a 200, which came at that moment."""


def by_origin(exchange: Exchange, body: bytes, now: float) -> None:
    """By what the origin wrote into it."""
    tally, question = exchange.tally, exchange.question
    try:
        said = msgspec.json.decode(body, type=Said)
    except msgspec.DecodeError:
        tally.errors["unreadable"] += 1
        return
    age = now - said.made - question.bound
    tally.hits += said.made < exchange.sent
    tally.wrong += (meaning(said.asked), said.as_) != (meaning(question.target), question.username)
    if age > GRAIN:
        tally.stale += 1
        tally.oldest = max(tally.oldest, age)


def by_world(exchange: Exchange, body: bytes, now: float) -> None:
    """Later, when the day is over."""
    exchange.tally.answered[exchange.question.target, mark(body)] += 1


class Client(asyncio.Protocol):
    """A keep-alive connection to a replica, for one exchange after another."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._exchange: Exchange | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, exchange: Exchange) -> None:
        self._exchange, exchange.client = exchange, self
        self._transport.write(exchange.question.head)

    def abort(self) -> None:
        """Forgets the exchange."""
        self._exchange = None
        self._transport.abort()

    @property
    def closing(self) -> bool:
        return self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank or self._exchange is None:
            return
        length = LENGTH.search(head)
        if length is None or len(body) < int(length[1]):
            return
        exchange, self._exchange, self._buffer = self._exchange, None, b""
        if CLOSE.search(head):
            self._transport.close()
        else:
            self._pool.back(self)
        exchange.answered(int(head[9:12]), body)

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._buffer or exchange.retried:
            exchange.failed("reset")
        else:  # it was closed just as it was used again, which every client tries once more
            exchange.retried = True
            self._pool.ask(exchange)


class Pool:
    """The connections to one replica."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Client] = []
        self._opening: set[asyncio.Task[None]] = set()

    def ask(self, exchange: Exchange) -> None:
        while self._idle:
            client = self._idle.pop()
            if not client.closing:
                client.ask(exchange)
                return
        task = asyncio.create_task(self._open(exchange))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def back(self, client: Client) -> None:
        """Its exchange is over."""
        self._idle.append(client)

    def close(self) -> None:
        for client in self._idle:
            client.abort()

    async def _open(self, exchange: Exchange) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self._port)
        except OSError:
            exchange.failed("connect")
        else:
            client.ask(exchange)


class Replay:
    """A day of so many ``seconds`` on its way to all lanes. ``told`` hears which tenths of it are over, the
    ``judge`` judges answers."""

    def __init__(
        self,
        requests: Sequence[Request],
        tenants: Sequence[Tenant],
        lanes: Sequence[Lane],
        factor: float,
        seconds: float = DAY,
        told: Callable[[float], None] = lambda share: None,
        judge: Judge = by_origin,
    ) -> None:
        self._judge = judge
        self._requests = requests
        self._usernames = [tenant.usernames for tenant in tenants]
        self._lanes = lanes
        self._pools = [[Pool(port) for port in lane.ports] for lane in lanes]
        self._factor = factor
        self._seconds = seconds
        self._told = told
        self._under_way: dict[Exchange, None] = {}
        self._questions: dict[tuple[str, str], Question] = {}
        self._landed = asyncio.Event()
        self.tallies = [Tally() for _ in lanes]
        self.begun = 0.0
        """When the day began, on the monotonic clock."""
        self.late = 0.0
        """Wall seconds by which the latest request was late."""

    async def run(self) -> None:
        """Replays the whole day; returns when every request has its answer or was given up."""
        giving_up = asyncio.create_task(self._give_up())
        try:
            await self._warm_up()
            await self._send()
            await self._all_over()
        finally:
            giving_up.cancel()
            for pools in self._pools:
                for pool in pools:
                    pool.close()

    async def _warm_up(self) -> None:
        """Asks each replica what nobody else asks, so that what only the first requests ever cost is paid, such as
        the connections that a balancer keeps."""
        for lane, pools in zip(self._lanes, self._pools, strict=True):
            for pool in pools:
                for _ in range(CONNECTIONS):
                    pool.ask(self._exchange(Request(0.0, 0, WARM_UP, Kind.TOTALS), lane, Tally()))
            await self._all_over()

    async def _all_over(self) -> None:
        while self._under_way:
            self._landed.clear()
            await self._landed.wait()

    async def _send(self) -> None:
        self.begun = time.monotonic()
        tenth = 1
        for number, request in enumerate(self._requests):
            due = self.begun + request.at / self._factor
            early = due - time.monotonic()
            if early > 0 or number % YIELD_EVERY == 0:
                await asyncio.sleep(max(0.0, early))
            self.late = max(self.late, time.monotonic() - due)
            for lane, pools, tally in zip(self._lanes, self._pools, self.tallies, strict=True):
                tally.requests += 1
                pools[lane.replica(number, request.target)].ask(self._exchange(request, lane, tally))
            while request.at >= tenth * self._seconds / 10:
                self._told(tenth / 10)
                tenth += 1
        self._told(1.0)
        await asyncio.sleep(max(0.0, self.begun + self._seconds / self._factor - time.monotonic()))

    def _exchange(self, request: Request, lane: Lane, tally: Tally) -> Exchange:
        place = (lane.keys[request.tenant], request.target)
        question = self._questions.get(place)
        if question is None:
            question = self._questions[place] = self._question(request, lane.keys[request.tenant])
        exchange = Exchange(question, SLOW / self._factor, tally, self._over, time.monotonic(), self._judge)
        self._under_way[exchange] = None
        return exchange

    def _question(self, request: Request, key: str) -> Question:
        head = f"GET {request.target} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n\r\n".encode()
        username = self._usernames[request.tenant].get(request.target.split("/", 2)[1], "")
        return Question(head, request.target, username, BOUNDS[request.kind] / self._factor)

    def _over(self, exchange: Exchange) -> bool:
        self._landed.set()
        return self._under_way.pop(exchange, False) is None

    async def _give_up(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            late = time.monotonic() - PATIENCE
            for exchange in [each for each in self._under_way if each.sent < late]:
                exchange.failed("timeout")
                if exchange.client is not None:
                    exchange.client.abort()
