"""``stats-gateway settings``."""

from __future__ import annotations

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.registry import AsJson, print_json
from gateway.cli.table import aligned, plain


def settings(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show the effective settings of a running gateway; secrets are masked."""
    told = ask(admin_url, "GET", "/api/settings")
    if as_json:
        print_json(told)
    else:
        print(aligned(["SETTING", "VALUE"], [[name, plain(value)] for name, value in told.items()]))
