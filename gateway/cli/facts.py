"""``stats-gateway doctor --facts``: its institution, its question before the calls, the calls, and the table.

What is asked and what follows from the answers is in ``gateway.admin.doctor.facts``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.admin.doctor.facts import Fact, facts_of, price, probes_of
from gateway.admin.doctor.finding import Finding, State, counted, unknown
from gateway.admin.doctor.memory import Memory, memory_of
from gateway.admin.doctor.probes import Aims, Probe, Replies, Reply, Service, aims_of, first_probes
from gateway.admin.doctor.service import Asked, Call, is_block
from gateway.cache.control import joined
from gateway.cache.dates import http_date
from gateway.cli.doctor import Examination, asking, hindrance
from gateway.settings import Settings
from gateway.tenants.tenant import Credential

MEANING = {True: "green", False: "yellow", None: ""}
"""The colour of what was found, by whether it holds."""
REFUSED = (401, 403)
ENDED = unknown(
    "facts.asked", "the calls ended early: the service blocks us, or the credential is refused or held"
)


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of it: the facts, or why nothing was asked. ``calls`` were made."""

    institution: str
    facts: Sequence[Fact] = ()
    calls: int = 0
    memory: Memory | None = None
    hindrances: Sequence[Finding] = ()


class _Before(msgspec.Struct):
    """The part of an earlier ``--json`` that counts here."""

    institution: str
    memory: Memory


class _Earlier(msgspec.Struct):
    facts: _Before


def learned(examined: Examination, institution: str | None, before: Path | None, *, yes: bool) -> Learned:
    """Finds out the facts, as far as the user agrees to the calls.

    Raises typer.BadParameter where there is no such credential, where there are several institutions to choose
    from, and for a file that is not what ``--json`` wrote.
    """
    settings, around = examined.settings, examined.around
    if settings is None or around is None:
        return Learned("", hindrances=[unknown("facts.asked", "nothing was asked: the settings cannot be read")])
    if settings.profile == "generic":
        raise typer.BadParameter("--facts is about the statistics service, and the profile is generic")
    credential, tenants = chosen(around.opened.held, institution)
    earlier = _earlier(before, credential.institution)
    calls = price(Service(credential.institution), _today())
    why = (
        hindrance(settings, around)
        or _unreached(examined.findings)
        or (None if yes else _unwanted(settings, calls))
    )
    if why:
        return Learned(
            credential.institution, hindrances=[unknown("facts.asked", f"nothing was asked: {why[0]}", why[1])]
        )
    return asyncio.run(_learn(settings, credential, tenants, earlier))


def chosen(held: Iterable[tuple[str, Credential]], institution: str | None) -> tuple[Credential, tuple[str, ...]]:
    """The credential for an institution, and the tenants that hold it. Raises typer.BadParameter."""
    ours = [(tenant, credential) for tenant, credential in held if institution in (None, credential.institution)]
    places = sorted({credential.institution for _, credential in ours})
    if not ours:
        whose = "" if institution is None else f" for {institution}"
        raise typer.BadParameter(f"no tenant has a credential{whose}: stats-gateway tenant add")
    if len(places) > 1:
        raise typer.BadParameter(f"--institution says on which one: {', '.join(places)}")
    credential = ours[0][1]
    return credential, tuple(tenant for tenant, each in ours if each.fingerprint == credential.fingerprint)


def _earlier(path: Path | None, institution: str) -> Memory | None:
    if path is None:
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Earlier).facts
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--before {path} is not what --facts --json wrote: {error}") from None
    if found.institution != institution:
        raise typer.BadParameter(f"--before {path} is about {found.institution}, not {institution}")
    return found.memory


def _unreached(findings: Iterable[Finding]) -> tuple[str, str] | None:
    """Why the service cannot be asked, by the findings on it."""
    troubled = any(each.check == "upstream.reach" and each.state is State.PROBLEM for each in findings)
    return ("the service cannot be reached", "see upstream, above") if troubled else None


def _unwanted(settings: Settings, calls: int) -> tuple[str, str] | None:
    """Why nothing is asked where nobody agrees to it; a terminal is asked."""
    interval = settings.budget_interval
    pace = (
        "at once"
        if interval is None
        else f"about {max(1, round(calls * interval))} s at the budget of {settings.budget}"
    )
    cost = f"{counted(calls, 'call')}, {pace}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return f"it takes {cost}", "add --yes"
    agreed = typer.confirm(f"Find out how {settings.upstream} behaves? It takes {cost}.", err=True)
    return None if agreed else ("you said no", "")


async def _learn(
    settings: Settings, credential: Credential, tenants: tuple[str, ...], earlier: Memory | None
) -> Learned:
    aims, replies = Aims(Service(credential.institution), _today()), dict[Probe, Reply]()
    with Console(stderr=True).status("") as status:
        async with asking(settings) as call:

            async def ask(probes: Sequence[Probe]) -> bool:
                """Asks these, each once; whether more may be asked."""
                for probe in [each for each in probes if each not in replies]:
                    status.update(f"Asking the service: {len(replies) + 1} …")
                    found = await call(Asked(probe.target, None if probe.public else credential, tenants))
                    replies[probe] = reply_of(found)
                    if ends(found):
                        return False
                return True

            whole = await ask(first_probes(aims))
            if whole:
                aims = aims_of(aims, Replies(replies))
                whole = await ask(probes_of(aims))
    known = Replies(replies)
    facts, memory = facts_of(aims, known, earlier), memory_of(aims, known)
    return Learned(credential.institution, facts, len(replies), memory, [] if whole else [ENDED])


def reply_of(call: Call) -> Reply:
    """A call's answer, as the facts need it."""
    if call.answer is None:
        return Reply(0)
    said = joined(call.answer.headers, b"date")
    there = http_date(said) if said else None
    return Reply(call.answer.status, call.answer.body, call.received if there is None else there)


def ends(call: Call) -> bool:
    """Whether to ask no more: we are blocked, or the credential is refused or kept back."""
    status = 0 if call.answer is None else call.answer.status
    return call.withheld or is_block(call) or (call.asked.protected and status in REFUSED)


def show_facts(found: Learned, console: Console) -> None:
    """Prints the table."""
    if not found.facts:
        return
    console.print(Text(f"\nFacts of {found.institution}, by {counted(found.calls, 'call')}", style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 2))
    for heading, share in (("what", 3), ("documented", 2), ("found", 3), ("evidence", 5)):
        table.add_column(heading, overflow="fold", ratio=share)
    for fact in found.facts:
        said = Text(fact.found or "–", style=MEANING[fact.holds])
        table.add_row(Text(fact.what), Text(fact.documented), said, Text(fact.evidence, style="dim"))
    console.print(table)


def facts_view(found: Learned) -> dict[str, Any]:
    """The facts as JSON for programs, and for a later run."""
    return {
        "facts": {
            "institution": found.institution,
            "calls": found.calls,
            "table": [fact._asdict() for fact in found.facts],
            "memory": msgspec.to_builtins(found.memory),
        }
    }


def _today() -> date:
    return datetime.now(UTC).date()
