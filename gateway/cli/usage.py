"""``stats-gateway usage``."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import examples, tenant_ids
from gateway.cli.registry import AsJson, print_json, tell
from gateway.cli.screen import aligned

EXAMPLES = examples(
    "stats-gateway usage --first 2030-01-01 --tenant reports",
    title="Example",
)


def usage(
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="TENANT", help="Only this tenant.", autocompletion=tenant_ids),
    ] = None,
    first: Annotated[
        str | None, typer.Option("--first", metavar="DAY", help="First day, like 2030-01-31.")
    ] = None,
    last: Annotated[str | None, typer.Option("--last", metavar="DAY", help="Last day; today unless told.")] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Show requests, hits and upstream calls by tenant and day.

    Days are UTC. Gateways tell their counts every five seconds.
    """
    told = ask(admin_url, "GET", "/api/usage", query={"tenant": tenant, "first": first, "last": last})
    if as_json:
        print_json(told)
    elif told["usage"]:
        rows = [
            [row["day"], row["tenant"], str(row["requests"]), str(row["hits"]), str(row["calls"])]
            for row in told["usage"]
        ]
        print(aligned(["DAY", "TENANT", "REQUESTS", "HITS", "CALLS"], rows))
    else:
        tell(f"Nothing was asked from {told['first']} to {told['last']}.")
