"""A process of a fleet that asks for one caller as fast as it can.

``python member.py URL PREFIX RATE BURST FLEET SECONDS``

It prints how often it was admitted, and how often refused.
"""

from __future__ import annotations

import asyncio
import sys
import time

import redis.asyncio

from gateway.admission.admission import Admission
from gateway.errors import RateLimited
from gateway.tenants.tenant import TenantLimits


async def main(url: str, prefix: str, rate: float, burst: int, fleet: int, seconds: float) -> None:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    admission = Admission(client, prefix, lambda: fleet)
    tidy = asyncio.create_task(admission.run())
    limits = TenantLimits(requests_per_second=rate, burst=burst)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    end, admitted, refused = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        try:
            await admission.admit("reports", limits)
            admitted += 1
        except RateLimited:
            refused += 1
        await asyncio.sleep(0.002)
    tidy.cancel()
    await client.aclose()
    print(admitted, refused, flush=True)


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
    )
