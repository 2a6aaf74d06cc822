"""``stats-gateway purge``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.options import examples, institutions
from gateway.cli.registry import AsJson, print_json, tell

EXAMPLES = examples(
    "stats-gateway purge --item article/23 --preview",
    'stats-gateway purge --query "/lboro/timeline/day/views/article/23"',
    "stats-gateway purge --all --hard --yes",
)


def purge(
    query: Annotated[
        str | None, typer.Option("--query", metavar="PATH", help="One query: a path as clients ask it.")
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", metavar="ITEM/ID", help="All about one item, like article/23.")
    ] = None,
    institution: Annotated[
        str | None,
        typer.Option("--institution", metavar="NAME", help="All of one institution.", autocompletion=institutions),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is stored.")] = False,
    hard: Annotated[bool, typer.Option("--hard", help="Gone at once, not stale until fetched anew.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Only estimate how much it would cover.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask back before a hard purge of everything.")] = False,
    as_json: AsJson = False,
    admin_url: AdminUrl = DEFAULT_URL,
) -> None:
    """Purge stored answers, in the whole fleet.

    It takes effect within a second or two. What is purged goes on serving, as stale, while it is fetched anew at
    the budget's pace; with --hard it is gone at once, and clients wait.
    """
    body = {"query": query, "item": item, "institution": institution, "all": everything, "hard": hard}
    if preview:
        found = ask(admin_url, "POST", "/api/purge/preview", body=body)
        if as_json:
            print_json(found)
        else:
            print(_told(found))
        return
    if everything and hard and not yes:
        _confirm()
    done = ask(admin_url, "POST", "/api/purge", body=body)
    if as_json:
        print_json(done)
    else:
        tell(f"Purged {'hard' if hard else 'softly'}, as of {done['purged']}.")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("a hard purge of everything needs --yes where there is no terminal to ask on")
    typer.confirm("Every answer will have to be fetched again at the budget's pace. Go on?", abort=True, err=True)


def _told(found: dict[str, int]) -> str:
    if found["complete"]:
        return f"{found['matching']} of {found['looked_at']} stored records"
    return (
        f"about {found['estimate']} records ({found['matching']} of the {found['looked_at']} that were looked at)"
    )
