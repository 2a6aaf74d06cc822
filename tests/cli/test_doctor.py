"""``stats-gateway doctor`` as people and scripts meet it: its output, its exit codes, its questions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Done, command
from tests.cli.terminal import on_a_terminal
from tests.integration.stage import Stage, staged


def doctor(*words: str, **settings: Any) -> Done:
    return command("doctor", *words, COLUMNS="200", **settings)


def states(done: Done) -> dict[str, str]:
    """The findings of ``--json``: the last state by check."""
    return {each["check"]: each["state"] for each in json.loads(done.out)["findings"]}


def test_a_new_place_has_notes_and_no_fault(tmp_path: Path) -> None:
    done = doctor(STATS_GATEWAY_REGISTRY=str(tmp_path / "tenants.toml"))
    assert (done.code, done.err) == (0, "")
    for expected in (
        "memory://",
        "no tenants yet",
        "> stats-gateway tenant add ID",
        "the service was not looked at",
    ):
        assert expected in done.out
    assert done.out.rstrip().endswith("1 unknown, 4 notes, 3 ok")


def test_json_is_all_that_is_on_stdout(tmp_path: Path) -> None:
    done = doctor("--json", "--registry", str(tmp_path / "tenants.toml"))
    answer = json.loads(done.out)
    assert (done.code, done.err, answer["worst"]) == (0, "", "unknown")
    assert answer["counts"] == {"ok": 3, "note": 4, "unknown": 1, "warning": 0, "problem": 0}
    assert set(answer["findings"][0]) == {"check", "state", "what", "advice", "fix"}


def test_exit_codes_tell_warnings_from_problems(tmp_path: Path) -> None:
    place = {"STATS_GATEWAY_REGISTRY": str(tmp_path / "tenants.toml")}
    allowed = {"STATS_GATEWAY_ALLOW_UNKNOWN_SETTINGS": "true"}
    warned = doctor("--json", STATS_GATEWAY_BUGDET="3/s", **allowed, **place)
    assert (warned.code, states(warned)["settings.variables"]) == (4, "warning")
    (tmp_path / "tenants.toml").write_text("[tenants.reports]\ncolour = 'red'\n")
    broken = doctor("--json", **place)
    assert (broken.code, states(broken)["registry.reading"]) == (5, "problem")


def test_a_fix_is_named_and_asked_for_and_done(tmp_path: Path) -> None:
    registry = tmp_path / "Tenants.toml"
    registry.write_text("[tenants.reports]\n")
    registry.chmod(0o666)
    place = {"STATS_GATEWAY_REGISTRY": str(registry)}
    told = doctor("--fix", **place)
    assert (told.code, registry.stat().st_mode & 0o777) == (5, 0o666)
    assert f"To do: chmod 644 {registry}\nNothing was done; add --yes.\n" in told.err
    done = doctor("--fix", "--yes", "--no-upstream", "--json", **place)
    assert (done.code, registry.stat().st_mode & 0o777, states(done)["files.registry"]) == (0, 0o644, "ok")
    assert f"Done: chmod 644 {registry}\n" in done.err
    assert "There is nothing to fix by itself." in doctor("--fix", "--yes", "--no-upstream", **place).err


def test_settings_that_cannot_be_read_are_a_finding_too(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("ports = 1\n")
    done = doctor("--config", str(file))
    assert (done.code, done.err) == (5, "")
    assert "unknown setting 'ports'" in done.out
    assert done.out.rstrip().endswith("1 problem")


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(budget="5/s") as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("wrong", "monash", password="wrong")
        yield stage


@pytest.fixture
def settings(stage: Stage) -> dict[str, Any]:
    stage.reset_calls()
    return {name: value for name, value in stage.environment.items() if name.startswith("STATS_GATEWAY_")}


def test_a_script_says_upstream_and_yes(stage: Stage, settings: dict[str, Any]) -> None:
    done = doctor("--upstream", "--yes", **settings)
    assert (done.code, stage.calls()["total"]) == (5, 2)
    assert "accepts lboro at lboro" in done.out
    assert "refuses monash at monash" in done.out


def test_a_terminal_is_asked_with_the_price_first(stage: Stage, settings: dict[str, Any]) -> None:
    with on_a_terminal("doctor", **settings) as terminal:
        question = terminal.read_until(b"[y/N]: ")
        assert b"It takes 2 calls (one for each credential), about 1 s at the budget of 5/s." in question
        terminal.type(b"n\n")
        assert terminal.ended() == 0
    assert b"not looked at" in terminal.showed
    assert stage.calls()["total"] == 0
    with on_a_terminal("doctor", **settings) as terminal:
        terminal.read_until(b"[y/N]: ")
        terminal.type(b"y\n")
        assert terminal.ended() == 5
    assert terminal.showed.count(b"[y/N]") == 1
    assert b"refuses monash at monash" in terminal.showed
    assert stage.calls()["total"] == 2


def test_told_to_look_a_terminal_is_still_asked_before_calls(stage: Stage, settings: dict[str, Any]) -> None:
    with on_a_terminal("doctor", "--upstream", **settings) as terminal:
        terminal.read_until(b"[y/N]: ")
        terminal.type(b"n\n")
        assert terminal.ended() == 0
    assert b"you said no" in terminal.showed
    assert b"connected to" in terminal.showed
    assert stage.calls()["total"] == 0


def test_ctrl_c_at_the_question_ends_it(settings: dict[str, Any]) -> None:
    with on_a_terminal("doctor", **settings) as terminal:
        terminal.read_until(b"[y/N]: ")
        terminal.interrupt()
        assert terminal.ended() == 130
    assert b"Traceback" not in terminal.showed
