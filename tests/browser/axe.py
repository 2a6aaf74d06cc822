"""axe-core's judgement of a page: can everybody use it?"""

from __future__ import annotations

from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

REPEATED = ("tbody tr:nth-child(n+6)", "ol > li:nth-child(n+6)", "main > details:nth-of-type(n+6)")
LOOKED_AT: dict[str, list[list[str]]] = {"exclude": [[each] for each in REPEATED]}
"""Later ones look like those before them, and each costs time."""


async def faults(page: Page) -> list[str]:
    """What axe-core finds, by all of its rules; one line for each element."""
    found = (await Axe().run(page, LOOKED_AT)).response["violations"]
    return [_line(rule, node) for rule in found for node in rule["nodes"]]


def _line(rule: Any, node: Any) -> str:
    why = "; ".join(each["message"] for each in node["any"] + node["all"] + node["none"])
    return f"{rule['impact']} {rule['id']}: {' '.join(map(str, node['target']))}: {why} {node['html'][:160]}"
