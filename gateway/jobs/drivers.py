"""Drivers: what the kinds of jobs do with what they want. Deterministic, as ``Asker`` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.jobs.asker import MOST_OUTSTANDING, JobAsker
from gateway.jobs.job import targets_of
from gateway.upstream.pacing import Priority

LOOK = 64
"""Targets that are looked up at once."""

Driver = Callable[[bytes, JobAsker], Awaitable[None]]
"""Does a job, given what it wants."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of jobs: its driver, the priority of its calls, and whether it keeps its answers."""

    drive: Driver
    priority: Priority = Priority.JOBS
    answers: bool = True


async def batch(wants: bytes, asker: JobAsker) -> None:
    """Ask each target: what is stored first, then the others side by side."""
    missing = await _missing(wants, asker)
    waiting = iter(missing)
    left = len(missing)

    async def work() -> None:
        nonlocal left
        for target in waiting:
            await asker.ask(target)
            left -= 1
            asker.progress(len(missing) - left, len(missing), left)

    asker.progress(0, left, left)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(MOST_OUTSTANDING, len(missing))):
            group.create_task(work())


async def _missing(wants: bytes, asker: JobAsker) -> list[str]:
    """The targets that have to be asked for; the others are answered."""
    targets = await asker.apart(lambda: targets_of(wants))
    missing: list[str] = []
    refused = 0
    for group in groups(targets):
        for target, found in zip(group, await asker.stored(group), strict=True):
            if found is None:
                missing.append(target)
            elif found.how == "refused":
                refused += 1
    asker.plan(len(targets) - len(missing) - refused, refused, len(set(missing)))
    return missing


def groups(targets: Sequence[str]) -> Iterator[Sequence[str]]:
    """The targets, as many at a time as are looked up at once."""
    return (targets[at : at + LOOK] for at in range(0, len(targets), LOOK))


KINDS: Mapping[str, Kind] = {"batch": Kind(batch), "warm": Kind(batch, Priority.WARM, answers=False)}
"""Every kind of jobs by its name."""
