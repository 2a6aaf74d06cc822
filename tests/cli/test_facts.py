"""``stats-gateway doctor --facts`` as people and scripts meet it: what it asks, what it costs, what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.doctor.facts import INQUIRIES
from tests.cli.command import Done, command
from tests.cli.terminal import on_a_terminal
from tests.integration.stage import Stage, staged


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Two institutions, one of which two tenants hold a credential for, and one with a wrong password."""
    with staged(budget="unlimited") as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("cron", "lboro")
        stage.tenant("wrong", "monash", password="hunter2-wrong")
        yield stage


@pytest.fixture(autouse=True)
def _no_calls_yet(stage: Stage) -> None:
    stage.reset_calls()


def settings(stage: Stage) -> dict[str, Any]:
    return {name: value for name, value in stage.environment.items() if name.startswith("STATS_GATEWAY_")}


def facts(stage: Stage, *words: str) -> Done:
    return command("doctor", "--upstream", "--facts", *words, COLUMNS="160", **settings(stage))


LBORO = ("--institution", "lboro", "--yes")


def test_facts_stand_beside_what_is_documented_and_a_later_run_compares(stage: Stage, tmp_path: Path) -> None:
    done = facts(stage, *LBORO, "--json")
    table = json.loads(done.out)["facts"]
    assert stage.calls()["total"] == table["calls"] + 2 <= 72  # and one for each credential
    assert [row["name"] for row in table["table"]] == [*(each.name for each in INQUIRIES), "day.past"]
    assert not [row for row in table["table"] if row["holds"] is False]
    assert stage.calls()["by_status"].keys() == {"200", "403"}
    (tmp_path / "before.json").write_text(done.out)
    again = facts(stage, *LBORO, "--before", str(tmp_path / "before.json"))
    assert "Facts of lboro, by" in again.out
    assert "whether past days change" in again.out
    assert "they do not" in again.out
    assert "hunter2" not in again.said + done.said


def test_without_agreement_nothing_is_asked_and_the_price_is_said(stage: Stage) -> None:
    done = facts(stage, "--institution", "lboro")
    assert "nothing was asked: it takes" in done.out
    assert "> add --yes" in done.out
    assert stage.calls()["total"] == 0


def test_a_terminal_is_asked_with_the_price_first(stage: Stage) -> None:
    words = ("doctor", "--upstream", "--facts", "--institution", "lboro")
    with on_a_terminal(*words, **settings(stage)) as terminal:
        terminal.read_until(b"[y/N]: ")
        terminal.type(b"n\n")
        assert b"It takes 66 calls, at once." in terminal.read_until(b"[y/N]: ")
        terminal.type(b"n\n")
        assert terminal.ended() == 0
    assert b"nothing was asked: you said no" in terminal.showed
    assert stage.calls()["total"] == 0


def test_a_refused_credential_ends_the_calls(stage: Stage) -> None:
    done = facts(stage, "--institution", "monash", "--yes")
    assert "the calls ended early" in done.out
    assert stage.calls()["total"] <= 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--yes"], "--institution says on which one: lboro, monash"),
        (["--institution", "melbourne", "--yes"], "no tenant has a credential for melbourne"),
        (["--institution", "lboro", "--yes", "--before", "/dev/null"], "is not what --facts --json wrote"),
        (["--no-upstream"], "which --no-upstream forbids"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(stage: Stage, words: list[str], said: str) -> None:
    done = facts(stage, *words)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())
    assert "Traceback" not in done.err
