"""``stats-gateway queue``."""

from __future__ import annotations

from typing import Any

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.registry import AsJson, print_json
from gateway.cli.screen import aligned


def queue(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show what waits for the service and what runs.

    It tells of the whole fleet, of the gate, and of when the next call is due.
    """
    told = ask(admin_url, "GET", "/api/queue")
    if as_json:
        print_json(told)
        return
    waiting = told["queued"]
    total = waiting["people"] + waiting["left"] + waiting["refresh"]
    processes = "1 process" if told["processes_total"] == 1 else f"{told['processes_total']} processes"
    print(f"gate {told['gate']['state']}, next call in {told['budget']:.1f} s, {processes}")
    print(f"{total} waiting: {waiting['people']} for people, {waiting['left']} whose callers left, "
          f"{waiting['refresh']} to refresh")  # fmt: skip
    if told["tenants"]:
        rows = [_row(tenant, depth) for tenant, depth in told["tenants"].items()]
        print("\n" + aligned(["TENANT", "PEOPLE", "LEFT", "REFRESH"], rows))
    if told["running"]:
        rows = [[run["id"][:12], run["tenant"], f"{run['age']:.1f} s"] for run in told["running"]]
        print("\n" + aligned(["RUNNING", "TENANT", "FOR"], rows))


def _row(tenant: str, depth: dict[str, Any]) -> list[str]:
    return [tenant, *(str(depth[band]) for band in ("people", "left", "refresh"))]
