"""The page of error codes has all of them, with their statuses, who can fix them, and how."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module

import gateway
from gateway.errors import GatewayError, Refusal
from tests.documents.pages import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| ([^|]+) \| (\w+) \| ([^|]+) \|$", re.MULTILINE)


def classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    """A class of errors and all that are derived from it, wherever they are."""
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if module.name.rpartition(".")[2] not in {"asgi", "__main__"}:  # importing these runs something
            import_module(module.name)
    found = [root]
    for each in found:
        found += each.__subclasses__()
    yield from found


def test_every_code_is_on_the_page_once_with_its_status() -> None:
    codes = {(each.code, each.status) for each in classes(GatewayError) if each is not Refusal}
    rows = [(code, int(status)) for code, status, *_ in ROW.findall(PAGE)]
    assert len(rows) == len(set(rows))
    assert set(rows) == {each for each in codes if each[0].startswith("Gateway") or each[0] == "Forbidden"}


def test_every_row_says_whose_fault_it_is() -> None:
    assert {fault for _, _, _, fault, _ in ROW.findall(PAGE)} == {"client", "operator", "service", "load"}
