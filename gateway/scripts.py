"""Lua scripts: loaded from their own files, sent by digest, at most one round trip for several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from gateway.redis_client import Client, redis_errors, shielded
from gateway.redis_cluster import ClusterClient

Argument = bytes | str | int | float


@dataclass(frozen=True, slots=True)
class Script:
    """A script's source and its SHA-1, the name by which Redis knows it."""

    source: str
    sha: str

    @classmethod
    def load(cls, package: str, *names: str) -> Script:
        """The named files of a package, one after another, as one script."""
        source = "\n".join(files(package).joinpath(name).read_text(encoding="utf-8") for name in names)
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _unheard(reply: object) -> None:
    """What nobody waits to hear."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a script: its single key and its arguments. ``heard`` is told each reply to it."""

    script: Script
    key: str
    args: tuple[Argument, ...]
    heard: Callable[[Any], object] = field(default=_unheard, compare=False, repr=False)


async def invoke(client: Client, invocation: Invocation) -> Any:
    """Runs one script. Raises CacheUnavailable."""
    return (await invoke_all(client, [invocation]))[0]


async def invoke_all(client: Client, invocations: Sequence[Invocation]) -> list[Any]:
    """Runs scripts in order, in one round trip; in a Cluster in one each, since their keys are on several nodes.

    Raises CacheUnavailable when any of them fails.

    A script that Redis has not seen (a new server, a failover) is sent whole; since a later one may have run
    before it then, callers put last what announces the others' work, and each script tolerates a repetition.
    """
    with redis_errors(client):
        if len(invocations) == 1 or isinstance(client, ClusterClient):
            return [await shielded(_one(client, each)) for each in invocations]
        return await shielded(_several(client, invocations))


async def _several(client: Client, invocations: Sequence[Invocation]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for each in invocations:
        pipe.evalsha(each.script.sha, 1, each.key, *each.args)
    replies = list(await pipe.execute(raise_on_error=False))
    for i, reply in enumerate(replies):
        if _unknown(reply):
            replies[i] = await _whole(client, invocations[i])
        elif isinstance(reply, Exception):
            raise reply
        invocations[i].heard(replies[i])
    return replies


async def _one(client: Client, invocation: Invocation) -> Any:
    try:
        reply = await client.evalsha(invocation.script.sha, 1, invocation.key, *invocation.args)
    except ResponseError as error:
        if not _unknown(error):
            raise
        reply = await _whole(client, invocation)
    invocation.heard(reply)
    return reply


async def _whole(client: Client, invocation: Invocation) -> Any:
    return await client.eval(invocation.script.source, 1, invocation.key, *invocation.args)


def _unknown(reply: object) -> bool:
    return isinstance(reply, NoScriptError) or (
        isinstance(reply, ResponseError) and str(reply).startswith("NOSCRIPT")
    )
