"""``stats-gateway explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import examples, tenant_ids
from gateway.cli.registry import AsJson, print_json
from gateway.cli.screen import aligned, plain

EXAMPLES = examples(
    'stats-gateway explain "/lboro/timeline/day/views/article/23" --tenant reports',
    'stats-gateway explain "/lboro/timeline/day/views/article/23" --address 10.1.2.3',
    """stats-gateway explain /count/articles --body '{"groups": [{"id": 327}]}'""",
)


def explain(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Path and query, or a whole URL.")],
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="TENANT", help="As this tenant's request.", autocompletion=tenant_ids),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="IP", help="As a request from there without a key.")
    ] = None,
    body: Annotated[
        str | None, typer.Option("--body", metavar="JSON", help="What is asked by POST there.")
    ] = None,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Explain what would become of a request, and why.

    The request is not made, and nothing is spent on it.
    """
    asked = {"path": path, "tenant": tenant, "address": address, "body": body}
    told = ask(admin_url, "GET", "/api/explain", query=asked)
    if as_json:
        print_json(told)
    else:
        print(aligned(["WHAT", "HOW"], list(_rows("", told))))


def _rows(prefix: str, told: dict[str, Any]) -> Iterator[list[str]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _rows(f"{prefix}{name}.", value)
        elif value is not None or not prefix:  # that there is no entry is news, that there is no sub-item is not
            yield [f"{prefix}{name}".replace("_", " "), plain(value)]
