"""A process of a fleet: several clients of it ask for one caller, more than they may, or for many in turn.

``python member.py URL PREFIX LIMITS FLEET SECONDS CALLERS``, where LIMITS is JSON

It says ``ready``, begins with the next line of its input, and prints as JSON how often it was admitted and
refused, the longest that an answer took, in seconds, and the errors.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle

from gateway.errors import RateLimited
from gateway.redis import connect
from gateway.settings import Settings
from gateway.tenants.limiter import RateLimiter
from gateway.tenants.tenant import TenantLimits

CLIENTS = 8
PACE = 0.016
"""Seconds between two requests of one client: 500 a second for all of a process."""


@dataclass
class Tally:
    """What a process's clients got."""

    admitted: int = 0
    refused: int = 0
    longest: float = 0.0
    errors: dict[str, int] = field(default_factory=Counter)


async def client(
    admission: RateLimiter, limits: TenantLimits, callers: Iterator[int], end: float, tally: Tally
) -> None:
    while (begun := time.monotonic()) < end:
        try:
            await admission.admit(f"reports-{next(callers)}", limits)
            tally.admitted += 1
        except RateLimited:
            tally.refused += 1
        except Exception as error:
            tally.errors[repr(error)] += 1
        tally.longest = max(tally.longest, time.monotonic() - begun)
        await asyncio.sleep(PACE)


async def main(url: str, prefix: str, limits: TenantLimits, fleet: int, seconds: float, callers: int) -> None:
    redis = connect(Settings.model_validate({"redis_url": url}))
    admission, tally = RateLimiter(redis, prefix, lambda: fleet), Tally()
    tidy = asyncio.create_task(admission.run())
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    end = time.monotonic() + seconds
    turns = cycle(range(callers))
    await asyncio.gather(*(client(admission, limits, turns, end, tally) for _ in range(CLIENTS)))
    tidy.cancel()
    await redis.aclose()
    print(json.dumps(asdict(tally)), flush=True)


if __name__ == "__main__":
    where, prefix, given, *numbers = sys.argv[1:]
    fleet, seconds, callers = int(numbers[0]), float(numbers[1]), int(numbers[2])
    asyncio.run(main(where, prefix, TenantLimits(**json.loads(given)), fleet, seconds, callers))
