"""How the sandbox's tests ask it: the service directly, or the whole app as a client would."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from typing import Any

import httpx2 as httpx

from gateway.sandbox.app import Sandbox
from gateway.sandbox.faults import Fault, Faults
from gateway.sandbox.habits import Habits
from gateway.sandbox.question import Answer
from gateway.sandbox.service import INSTITUTIONS, Service, password_of

TODAY = date(2016, 3, 15)
PATIENCE = 10.0
"""Seconds after which something that should have happened is taken to have failed."""


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def pair_of(institution: str) -> str:
    return basic(institution, password_of(institution))


def service(*, seed: int = 1, today: date = TODAY, examples: bool = False, **habits: Any) -> Service:
    return Service(seed, habits=Habits(examples=examples, **habits), today=lambda: today)


def answer_of(service: Service, target: str, *, method: str = "GET") -> Answer:
    """The answer to a target, with the pair of the institution that it names, if it names one of ours."""
    path, _, query = target.partition("?")
    first = path.split("/")[1]
    return service.answer(method, path, query, pair_of(first).encode() if first in INSTITUTIONS else None)


def json_of(service: Service, target: str) -> Any:
    """A 200's JSON."""
    answer = answer_of(service, target)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def client_of(sandbox: Sandbox) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://127.0.0.1")


def seed_of(fault: Fault) -> int:
    """A seed whose first fault is this one."""
    return next(seed for seed in range(1_000) if Faults(seed, 1.0).next() is fault)


async def until(condition: Callable[[], bool]) -> None:
    """Lets everything else run until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)
