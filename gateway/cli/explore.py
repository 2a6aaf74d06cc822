"""``stats-gateway explore``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import examples, tenant_ids
from gateway.cli.registry import AsJson, print_json, tell

PATIENCE = 120.0
"""Seconds, since a request may wait its turn."""
EXAMPLES = examples(
    'stats-gateway explore "/lboro/timeline/month/views/article/23" --tenant reports', title="Example"
)


EXAMPLES = examples(
    'stats-gateway explore "/lboro/timeline/month/views/article/23" --tenant reports', title="Example"
)


def explore(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path and query, or a whole URL.")],
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant", metavar="TENANT", help="As this tenant; else without a key.", autocompletion=tenant_ids
        ),
    ] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Make a request as a tenant, without its key; print the answer.

    The body goes to stdout as it came, how it was served to stderr. It counts
    as the tenant's own request. The exit code is 1 for an answer of 400 and up.
    """
    query = {"path": path, "tenant": tenant}
    told: dict[str, Any] = ask(admin_url, "GET", "/api/explore", query=query, seconds=PATIENCE)
    if as_json:
        print_json(told)
    else:
        print(told["body"])
        tell(f"{told['status']}, {told['cache_status'] or told['outcome']}, {told['seconds'] * 1000:.1f} ms")
    if told["status"] >= 400:
        raise typer.Exit(1)
