"""Every alert leads to a section of the operations page that says what to do, and no section is about none."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.documents.pages import HEADING, ROOT, section
from tests.documents.test_commands import anchors

RULES = ROOT / "helm" / "stats-gateway" / "files" / "alerts.rules.yml"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PAGE = (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alerts_runbook_says_what_to_do(alert: dict[str, Any]) -> None:
    place, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor == alert["alert"].lower()
    assert anchor in anchors((ROOT / place).read_text())
    assert "**Do**:" in section(PAGE, alert["alert"])


def test_every_runbook_is_of_an_alert() -> None:
    there = [heading[2] for heading in HEADING.finditer(section(PAGE, "The alerts"))]
    assert there == [alert["alert"] for alert in ALERTS]
