"""``stats-gateway breaker``: credentials that the service refuses, or that an operator holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import Commands, examples
from gateway.cli.registry import AsJson, print_json, tell
from gateway.cli.screen import aligned

app = Commands(name="breaker", help="List, hold and resume the use of credentials.")
Fingerprint = Annotated[
    str, typer.Argument(metavar="FINGERPRINT", help="The credential's fingerprint: see breaker list, and explain.")
]


@app.command("list")
def list_refused(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """List the credentials that are not used now."""
    _tell(ask(admin_url, "GET", "/api/breakers"), as_json)


@app.command(epilog=examples("stats-gateway breaker hold 3f0c…", title="Example"))
def hold(fingerprint: Fingerprint, as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Do not use a credential, in the whole fleet, until resumed."""
    _tell(ask(admin_url, "POST", f"/api/breakers/{_safe(fingerprint)}/hold"), as_json)


@app.command()
def resume(fingerprint: Fingerprint, as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Use a credential again, at once, whether it was held or refused."""
    _tell(ask(admin_url, "POST", f"/api/breakers/{_safe(fingerprint)}/resume"), as_json)


def _safe(fingerprint: str) -> str:
    """What is no fingerprint goes on as ``-``, which the API refuses: it could be anything, also a secret."""
    return fingerprint if fingerprint.isascii() and fingerprint.isalnum() else "-"


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(told)
    elif told["refused"]:
        rows = [[each["fingerprint"], f"{each['left']:.0f} s", _held(each)] for each in told["refused"]]
        print(aligned(["FINGERPRINT", "LEFT", "HELD FOR"], rows))
    else:
        tell("All credentials may be used.")


def _held(refused: dict[str, Any]) -> str:
    return "-" if refused["held_for"] is None else f"{refused['held_for']:.0f} s"
