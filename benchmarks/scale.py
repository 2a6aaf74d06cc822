"""One, two, four, eight processes on one Redis: requests a second, upstream calls, and Redis commands by outcome.

Run with ``make scale``. The load comes from this same machine, so that requests a second say something beside each
other and nothing by themselves; calls and commands are counted, and the same on every machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.integration.load import Answer, Connection
from tests.integration.stage import Process, Stage, staged
from tests.redis_server import RedisServer, redis_server

CLIENTS = 16
COUNTED = ("evalsha", "eval", "mget")
"""Commands that requests send themselves; what scripts call inside does not travel."""
IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """One outcome at one number of processes."""

    processes: int
    outcome: str
    requests: int
    per_second: float
    calls: int
    commands_each: float


def target(number: int) -> str:
    return f"/lboro/timeline/day/views/article/{number}?start_date=2014-01-01&end_date=2014-03-01"


class Counter:
    """Commands that Redis was sent for requests: all of them but what processes send without any."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._idle = 0.0

    def learn(self) -> None:
        """Looks for a while at what comes without requests."""
        before = self._sent()
        time.sleep(IDLE_SECONDS)
        self._idle = (self._sent() - before) / IDLE_SECONDS

    def begin(self) -> None:
        self._before, self._at = self._sent(), time.monotonic()

    def end(self) -> float:
        return max(0.0, self._sent() - self._before - self._idle * (time.monotonic() - self._at))

    def _sent(self) -> int:
        stats: dict[str, Any] = self._server.call("INFO", "commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]) for name in COUNTED)


async def asked(gateways: Sequence[Process], key: str, targets: Sequence[str]) -> list[Answer]:
    """Each target once, from a few clients that share the processes."""
    queue = list(enumerate(targets))
    answers: list[Answer] = []

    async def client() -> None:
        connections = [Connection(gateway.port, key) for gateway in gateways]
        while queue:
            number, wanted = queue.pop()
            answers.append(await connections[number % len(gateways)].get(wanted))
        for connection in connections:
            connection.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return answers


async def measured(
    stage: Stage,
    counter: Counter,
    gateways: Sequence[Process],
    outcome: str,
    targets: Sequence[str],
    turn: int = 0,
) -> Row:
    """One row; raises SystemExit where an answer was not of that outcome."""
    stage.reset_calls()
    counter.begin()
    begun = time.monotonic()
    answers = await asked(gateways, stage.keys["reports"], targets)
    took = time.monotonic() - begun
    commands = await asyncio.to_thread(counter.end)
    if wrong := [answer for answer in answers if answer.status != 200]:
        sys.exit(f"an answer was {wrong[0]}")
    return Row(
        len(gateways), outcome, len(answers), len(answers) / took, stage.calls()["total"], commands / len(answers)
    )


async def rows_of(stage: Stage, server: RedisServer, processes: int, size: int) -> list[Row]:
    """Misses, hits in Redis, hits near, and crowds for one answer, at so many processes."""
    server.call("FLUSHALL")
    prefix = f"scale{processes}"
    gateways = [await asyncio.to_thread(stage.serve, redis_prefix=prefix) for _ in range(processes)]
    reader = await asyncio.to_thread(stage.serve, redis_prefix=prefix, near_max_bytes=0)
    counter = Counter(server)
    await asyncio.to_thread(counter.learn)
    cold = [target(number) for number in range(size)]
    crowd = [target(size + number // (4 * processes)) for number in range(size)]
    rows = [
        await measured(stage, counter, gateways, "miss", cold),
        await measured(stage, counter, [reader], "hit, shared", cold),
        await measured(stage, counter, gateways, "hit, near", cold * 5),
        await measured(stage, counter, gateways, "crowd", crowd),
    ]
    for gateway in (*gateways, reader):
        gateway.running.terminate()
    for gateway in (*gateways, reader):
        await asyncio.to_thread(gateway.running.wait, 20)
    return rows


def entry_bytes(server: RedisServer) -> float:
    """What an entry takes in Redis, on average."""
    keys = [key for key in server.call("KEYS", "scale*") if b"{" in key and b"queue" not in key]
    sizes = [int(server.call("MEMORY", "USAGE", key)) for key in keys if server.call("TYPE", key) == b"string"]
    return sum(sizes) / max(1, len(sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description="One to eight processes on one Redis.")
    parser.add_argument("--processes", default="1,2,4,8", help="how many, comma-separated")
    parser.add_argument("--size", type=int, default=400, help="requests of a row, about")
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    given = parser.parse_args()
    rows: list[Row] = []
    settings = {"budget": "unlimited", "log_level": "warning"}
    with redis_server() as server, staged("--no-examples", redis_url=server.url, **settings) as stage:
        stage.tenant("reports", "lboro")
        if not given.json:
            print("processes  outcome       requests  a second     calls  Redis commands each", flush=True)
        for processes in (int(each) for each in given.processes.split(",")):
            for row in asyncio.run(rows_of(stage, server, processes, given.size)):
                rows.append(row)
                if not given.json:
                    print(
                        f"{row.processes:9}  {row.outcome:12} {row.requests:9} {row.per_second:9.0f} "
                        f"{row.calls:9}  {row.commands_each:19.2f}",
                        flush=True,
                    )
        size = entry_bytes(server)
    if given.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "entry_bytes": round(size)}))
    else:
        print(f"\nAn entry takes {size:.0f} bytes in Redis.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
