"""Consulting: the doctor's look at the service, as far as the user wants it; asked before it costs anything."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import typer
from rich.console import Console

from gateway.admin.doctor.finding import Finding, counted, unknown
from gateway.admin.doctor.service import (
    Asked,
    Call,
    Caller,
    answer_findings,
    is_block,
    look,
    not_asked,
    questions,
    reach_findings,
    seconds_for,
)
from gateway.admin.doctor.settings import Surroundings
from gateway.admin.doctor.tenants import readiness
from gateway.redis import MEMORY
from gateway.settings import Settings
from gateway.upstream.network import TrustStore


def consult(settings: Settings, around: Surroundings, *, wanted: bool | None, yes: bool) -> Iterator[Finding]:
    """What a look at the service finds, and what calls to it find.

    ``wanted`` says whether the user told to look, or not to; where neither, a terminal is asked. ``yes`` is the
    answer to every question.
    """
    asked = [] if settings.profile == "generic" else questions(around.opened.held)
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    agreed = yes
    if wanted is None:
        wanted = agreed = terminal and (yes or _confirmed(f"Look at {settings.upstream} too?", settings, asked))
    if not wanted:
        yield unknown("upstream.reach", "the service was not looked at", "stats-gateway doctor --upstream")
        return
    store = TrustStore.of(settings.upstream_ca_file)
    reach = asyncio.run(look(settings.upstream, settings.connect_timeout, store))
    yield from reach_findings(reach, time.time())
    if reach.trouble and asked:
        yield from not_asked(asked, "the service cannot be reached")
    elif asked and (hindrance := _hindrance(settings, around)):
        yield from not_asked(asked, *hindrance)
    elif asked and not agreed and not terminal:
        yield from not_asked(asked, f"it takes {_price(settings, asked)}", "add --yes")
    elif asked and not agreed and not _confirmed(f"Ask {settings.upstream}?", settings, asked):
        yield from not_asked(asked, "you said no")
    elif asked:
        yield from _ask(settings, asked)


def _confirmed(question: str, settings: Settings, asked: Sequence[Asked]) -> bool:
    told = f"{question} It takes {_price(settings, asked)}." if asked else question
    return typer.confirm(told, err=True)


def _price(settings: Settings, asked: Sequence[Asked]) -> str:
    """How many calls, and how long they take at the budget's pace."""
    what = "one for each credential" if asked[0].protected else "a public query"
    seconds = seconds_for(asked, settings.budget_interval)
    pace = "at once" if seconds is None else f"about {max(1, round(seconds))} s at the budget of {settings.budget}"
    return f"{counted(len(asked), 'call')} ({what}), {pace}"


def _hindrance(settings: Settings, around: Surroundings) -> tuple[str, str] | None:
    """Why the budget could not be kept, and what to do about it; None where it can."""
    if settings.redis_url.get_secret_value() != MEMORY:
        return None if around.redis else ("without Redis the fleet's budget cannot be kept", "see redis, above")
    if readiness(settings) is not None:
        return "a gateway runs here on memory://, whose budget cannot be shared", "stop it first, or use Redis"
    return None


def _ask(settings: Settings, asked: Sequence[Asked]) -> Iterator[Finding]:
    calls = asyncio.run(_calls(settings, asked))
    shortest = min(settings.lifetime_open, settings.lifetime_totals, settings.lifetime_empty)
    yield from answer_findings(calls, obey=settings.upstream_directives == "obey", shortest=shortest)
    if rest := asked[len(calls) :]:
        yield from not_asked(rest, "the service wants no more calls now")


async def _calls(settings: Settings, asked: Sequence[Asked]) -> list[Call]:
    # Here, so that the small commands need not wait for the whole gateway to load.
    from gateway.app import client_of, queue_of
    from gateway.redis import connect

    redis, client = connect(settings), client_of(settings)
    queue = queue_of(settings, redis)
    await queue.start()
    try:
        return await _one_by_one(Caller(queue, client, settings.caller_timeout).call, asked)
    finally:
        await queue.stop(grace=0.0)
        await client.aclose()
        await redis.aclose()


async def _one_by_one(call: Callable[[Asked], Awaitable[Call]], asked: Sequence[Asked]) -> list[Call]:
    """Asks one after another, and no more where the service blocks us."""
    calls: list[Call] = []
    with Console(stderr=True).status("") as status:
        for number, each in enumerate(asked, 1):
            status.update(f"Asking the service: {number} of {len(asked)} …")
            calls.append(await call(each))
            if is_block(calls[-1]):
                break
    return calls
