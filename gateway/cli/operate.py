"""The commands of operators: ``purge``, and what asks the admin API of a running gateway."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gateway.admin.doctor.finding import counted
from gateway.cli.format import aligned, value_text
from gateway.cli.options import (
    DEFAULT_URL,
    AdminUrl,
    AsJson,
    Commands,
    ask_admin,
    examples,
    flag,
    institutions,
    note,
    option,
    print_json,
    tenant_ids,
)
from gateway.errors import ConfigurationError
from gateway.observe.withheld import whose
from gateway.tenants.schema import check_tenant_id
from gateway.upstream.pacing import Priority
from gateway.upstream.snapshot import REASONS

EXPLORE_SECONDS = 120.0
"""Longer than other calls of the admin API take, since a request may wait its turn."""

app = Commands()
gate = Commands(name="gate", help="Show, hold and resume upstream calls (the circuit breaker).")
breaker = Commands(name="breaker", help="List, hold and resume suspended credentials.")
app.add_typer(gate)
app.add_typer(breaker)

QueryPath = Annotated[str, typer.Argument(metavar="PATH", help="Path and query, or a complete URL.")]
Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="The credential's fingerprint: see breaker list, and explain.")
]


@dataclass(frozen=True, slots=True)
class PurgeScope:
    """What a purge covers, one of these."""

    query: Annotated[str | None, option("--query", "PATH", "One query: a path as clients ask it.")] = None
    item: Annotated[str | None, option("--item", "ITEM/ID", "All about one item, like article/23.")] = None
    institution: Annotated[
        str | None, option("--institution", "NAME", "All of one institution.", complete=institutions)
    ] = None
    everything: Annotated[bool, flag("--all", "All that is stored.")] = False


@app.command(
    epilog=examples(
        "stats-gateway purge --item article/23 --preview",
        'stats-gateway purge --query "/lboro/timeline/day/views/article/23"',
        "stats-gateway purge --all --hard --yes",
    )
)
def purge(
    scope: PurgeScope,
    hard: Annotated[bool, flag("--hard", "Remove at once, instead of serving stale.")] = False,
    preview: Annotated[bool, flag("--preview", "Only estimate how much it would cover.")] = False,
    yes: Annotated[bool, flag("--yes", "Do not ask back before a hard purge of everything.")] = False,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Purge stored answers, in the whole fleet.

    It takes effect within a second or two. A soft purge makes answers stale: they are served while they are
    fetched again, at the budget's pace. With --hard (a ban) they are gone at once, and clients wait.
    """
    fields: dict[str, Any] = {"query": scope.query, "item": scope.item, "institution": scope.institution}
    body = fields | {"all": scope.everything, "hard": hard}
    if not preview and scope.everything and hard and not yes:
        _confirm_purge()
    purged = ask_admin(admin_url, "POST", "/api/purge/preview" if preview else "/api/purge", body=body)
    if as_json:
        print_json(purged)
    elif preview:
        print(_estimate(purged))
    else:
        note(f"Purged {'hard' if hard else 'softly'}, as of {purged['purged']}.")


def _confirm_purge() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("a hard purge of everything needs --yes where there is no terminal to ask on")
    typer.confirm("Every answer will have to be fetched again at the budget's pace. Go on?", abort=True, err=True)


def _estimate(found: dict[str, int]) -> str:
    if found["complete"]:
        return f"{found['matching']} of {found['looked_at']} stored records"
    looked_at = f"{found['matching']} of the {found['looked_at']} that were looked at"
    return f"about {found['estimate']} records ({looked_at})"


@gate.command("show")
def show_gate(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show whether upstream calls are allowed (the circuit breaker)."""
    _print_gate(ask_admin(admin_url, "GET", "/api/gate"), as_json)


@gate.command("hold")
def hold_gate(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Stop all upstream calls, in the whole fleet, until resumed.

    Stored answers are still served.
    """
    _print_gate(ask_admin(admin_url, "POST", "/api/gate/hold"), as_json)


@gate.command("resume")
def resume_gate(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Allow upstream calls again, at once.

    It opens the gate in the whole fleet, whether it was held or closed by a block.
    """
    _print_gate(ask_admin(admin_url, "POST", "/api/gate/resume"), as_json)


def _print_gate(gate: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(gate)
        return
    left = f", for {gate['closed_for']:.0f} s more" if gate["closed_for"] else ""
    held = f", for {gate['held_for']:.0f} s so far" if gate["held_for"] is not None else ""
    why = f": {REASONS[gate['why']]}" if gate.get("why") in REASONS else ""
    print(f"{gate['state']}{left}{held}{why}")
    if refused := gate.get("targets_refused"):
        print(f"not asked, since the service refused them: {refused} targets")


@breaker.command("list")
def list_refused(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """List the suspended credentials."""
    _print_refused(ask_admin(admin_url, "GET", "/api/breakers"), as_json)


@breaker.command("hold", epilog=examples("stats-gateway breaker hold 3f0c…", title="Example"))
def hold_credential(fingerprint: Fingerprint, as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Suspend a credential, in the whole fleet, until resumed."""
    _print_refused(ask_admin(admin_url, "POST", f"/api/breakers/{_safe(fingerprint)}/hold"), as_json)


@breaker.command("resume")
def resume_credential(
    fingerprint: Fingerprint, as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL
) -> None:
    """Use a credential again, at once, whether it was held or refused."""
    _print_refused(ask_admin(admin_url, "POST", f"/api/breakers/{_safe(fingerprint)}/resume"), as_json)


def _safe(text: str) -> str:
    """What is neither a fingerprint nor a call's id goes on as ``-``, which the API refuses: it could be anything,
    also a secret."""
    return text if re.fullmatch(r"[0-9A-Za-z]+(\.[0-9A-Za-z]+)?", text) else "-"


def _print_refused(breakers: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(breakers)
    elif breakers["refused"]:
        rows = [
            [_whose(each), f"{each['left']:.0f} s", _held(each), each["fingerprint"]]
            for each in breakers["refused"]
        ]
        print(aligned(["CREDENTIAL", "LEFT", "HELD FOR", "FINGERPRINT"], rows))
    else:
        note("All credentials may be used.")


def _whose(refused: dict[str, Any]) -> str:
    """A refused credential in words; a gateway of an older version names none."""
    names = refused.get("institution", ""), refused.get("tenants", []), refused.get("tenants_total", 0)
    return whose(*names, refused["fingerprint"]) if "institution" in refused else "-"


def _held(refused: dict[str, Any]) -> str:
    return "-" if refused["held_for"] is None else f"{refused['held_for']:.0f} s"


@app.command(epilog=examples("stats-gateway queue", "stats-gateway queue --cancel 3f0c…"))
def queue(
    cancel: Annotated[str | None, option("--cancel", "ID", "Take this waiting call out of the queue.")] = None,
    cancel_tenant: Annotated[
        str | None,
        option("--cancel-tenant", "TENANT", "Take all its waiting calls out of the queue.", complete=tenant_ids),
    ] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Show what waits for the service and what runs.

    It shows the whole fleet, the gate, and when the next call is due. With --cancel or --cancel-tenant it takes
    waiting calls out of the queue; requests that wait for them get an error.
    """
    if cancel is not None or cancel_tenant is not None:
        _cancel(cancel, cancel_tenant, admin_url)
        return
    told = ask_admin(admin_url, "GET", "/api/queue")
    if as_json:
        print_json(told)
        return
    waiting = told["queued"]
    processes = "1 process" if told["processes_total"] == 1 else f"{told['processes_total']} processes"
    print(f"gate {told['gate']['state']}, {_next_call(told['gate'], told['budget'])}, {processes}")
    shown = ", ".join(f"{waiting.get(each.label, 0)} {each.words}" for each in Priority)
    print(f"{sum(waiting.values())} waiting: {shown}")
    if told["tenants"]:
        rows = [_row(tenant, depth) for tenant, depth in told["tenants"].items()]
        print("\n" + aligned(["TENANT", *(each.name for each in Priority)], rows))
    if told.get("waiting"):
        rows = [
            [each["id"], each["tenant"], [*Priority][each["band"]].label, f"{each['age']:.1f} s"]
            for each in told["waiting"]
        ]
        print("\n" + aligned(["WAITING", "TENANT", "PRIORITY", "FOR"], rows))
    if told["running"]:
        rows = [[run["id"][:12], run["tenant"], f"{run['age']:.1f} s"] for run in told["running"]]
        print("\n" + aligned(["RUNNING", "TENANT", "FOR"], rows))


def _cancel(call: str | None, tenant: str | None, admin_url: str) -> None:
    if call is not None and tenant is not None:
        raise ConfigurationError("give either --cancel or --cancel-tenant")
    path = f"tenants/{tenant}" if call is None else f"calls/{_safe(call)}"
    if tenant is not None:
        check_tenant_id(tenant)
    cancelled = ask_admin(admin_url, "DELETE", f"/api/queue/{path}")["cancelled"]
    note(f"Cancelled {counted(cancelled, 'call')}.")


def _next_call(gate: dict[str, Any], budget: float) -> str:
    """When the next call may go, by the gate and the budget."""
    match gate["state"]:
        case "held":
            return "no call until the gate is resumed"
        case "closed":
            return f"next call in {max(gate['closed_for'], budget):.1f} s"
    return f"next call in {budget:.1f} s"


def _row(tenant: str, depth: dict[str, Any]) -> list[str]:
    return [tenant, *(str(depth.get(each.label, 0)) for each in Priority)]


@app.command(epilog=examples("stats-gateway usage --first 2030-01-01 --tenant reports", title="Example"))
def usage(
    tenant: Annotated[str | None, option("--tenant", "TENANT", "Only this tenant.", complete=tenant_ids)] = None,
    first: Annotated[str | None, option("--first", "DAY", "First day, like 2030-01-31.")] = None,
    last: Annotated[str | None, option("--last", "DAY", "Last day; today by default.")] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Show requests, hits and upstream calls by tenant and day.

    Days are UTC. Gateways tell their counts every five seconds.
    """
    report = ask_admin(admin_url, "GET", "/api/usage", query={"tenant": tenant, "first": first, "last": last})
    if as_json:
        print_json(report)
    elif report["usage"]:
        columns = ("day", "tenant", "requests", "hits", "calls")
        rows = [[str(row[column]) for column in columns] for row in report["usage"]]
        print(aligned([column.upper() for column in columns], rows))
    else:
        note(f"Nothing was asked from {report['first']} to {report['last']}.")


@app.command(
    epilog=examples(
        'stats-gateway explain "/lboro/timeline/day/views/article/23" --tenant reports',
        'stats-gateway explain "/lboro/timeline/day/views/article/23" --address 10.1.2.3',
        """stats-gateway explain /count/articles --body '{"groups": [{"id": 327}]}'""",
    )
)
def explain(
    path: QueryPath,
    tenant: Annotated[
        str | None, option("--tenant", "TENANT", "As this tenant's request.", complete=tenant_ids)
    ] = None,
    address: Annotated[str | None, option("--address", "IP", "As a request from there without a key.")] = None,
    body: Annotated[str | None, option("--body", "JSON", "What is asked by POST there.")] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Explain what would become of a request, and why.

    The request is not made, and nothing is spent on it.
    """
    query = {"path": path, "tenant": tenant, "address": address, "body": body}
    explanation = ask_admin(admin_url, "GET", "/api/explain", query=query)
    if as_json:
        print_json(explanation)
    else:
        print(aligned(["WHAT", "HOW"], list(_explained("", explanation))))


def _explained(prefix: str, values: dict[str, Any]) -> Iterator[list[str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _explained(f"{prefix}{name}.", value)
        elif value is not None or not prefix:  # that there is no entry is news, that there is no sub-item is not
            yield [f"{prefix}{name}".replace("_", " "), value_text(value)]


@app.command(
    epilog=examples(
        'stats-gateway explore "/lboro/timeline/month/views/article/23" --tenant reports', title="Example"
    )
)
def explore(
    path: QueryPath,
    tenant: Annotated[
        str | None, option("--tenant", "TENANT", "As this tenant; else without a key.", complete=tenant_ids)
    ] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Make a request as a tenant, without its key; print the answer.

    The body goes to stdout as it came, how it was served to stderr. It counts
    as the tenant's own request. The exit code is 1 for an answer of 400 and up.
    """
    query = {"path": path, "tenant": tenant}
    answer: dict[str, Any] = ask_admin(admin_url, "GET", "/api/explore", query=query, seconds=EXPLORE_SECONDS)
    if as_json:
        print_json(answer)
    else:
        print(answer["body"])
        served = answer["cache_status"] or answer["outcome"]
        note(f"{answer['status']}, {served}, {answer['seconds'] * 1000:.1f} ms")
    if answer["status"] >= 400:
        raise typer.Exit(1)
