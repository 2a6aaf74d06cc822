"""``stats-gateway settings``."""

from __future__ import annotations

from gateway.cli.admin import DEFAULT_URL, AdminUrl, ask
from gateway.cli.registry import AsJson, print_json
from gateway.cli.table import aligned, plain


def settings(as_json: AsJson = False, admin_url: AdminUrl = DEFAULT_URL) -> None:
    """Show what a running gateway was started with.

    It asks the admin API; secrets are masked. What serve would use here, and where each setting comes from, is
    told without a running gateway by: stats-gateway config.
    """
    told = ask(admin_url, "GET", "/api/settings")
    if as_json:
        print_json(told)
    else:
        print(aligned(["SETTING", "VALUE"], [[name, plain(value)] for name, value in told.items()]))
