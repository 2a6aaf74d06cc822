"""``stats-gateway gate``: whether the service is asked at all."""

from __future__ import annotations

from typing import Any

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import Commands
from gateway.cli.registry import AsJson, print_json
from gateway.upstream.snapshot import REASONS

app = Commands(name="gate", help="Show, hold and resume the asking of the service.")


@app.command()
def show(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show whether the service may be asked."""
    _tell(ask(admin_url, "GET", "/api/gate"), as_json)


@app.command()
def hold(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Ask the service nothing more, in the whole fleet, until resumed.

    What is stored goes on serving.
    """
    _tell(ask(admin_url, "POST", "/api/gate/hold"), as_json)


@app.command()
def resume(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Ask the service again, at once.

    It opens the gate in the whole fleet, whether it was held or closed by a block.
    """
    _tell(ask(admin_url, "POST", "/api/gate/resume"), as_json)


def _tell(gate: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(gate)
        return
    left = f", for {gate['closed_for']:.0f} s more" if gate["closed_for"] else ""
    held = f", for {gate['held_for']:.0f} s so far" if gate["held_for"] is not None else ""
    why = f": {REASONS[gate['why']]}" if gate.get("why") in REASONS else ""
    print(f"{gate['state']}{left}{held}{why}")
    if refused := gate.get("targets_refused"):
        print(f"not asked, since the service refused them: {refused} targets")
