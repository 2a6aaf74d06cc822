"""What a newcomer is told when ``serve`` starts: what is missing, and what to type."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.serve import first_steps
from gateway.server.serve import NO_ADMIN, browsable, opening
from gateway.settings import load_settings
from tests.cli.command import run
from tests.cli.terminal import on_a_terminal


def test_without_tenants_it_says_what_to_type_and_that_works(tmp_path: Path) -> None:
    path = tmp_path / "a folder" / "tenants.toml"
    path.parent.mkdir()
    (text,) = first_steps(load_settings(registry=path))
    assert "every request is refused" in text
    typed = [shlex.split(line) for line in text.splitlines() if line.startswith("  stats-gateway ")]
    assert [words[1:3] for words in typed] == [["tenant", "add"], ["key", "add"]]
    # The password is asked for on a terminal; here it comes from stdin.
    assert run(*typed[0][1:], "--password-stdin", given="hunter2").code == 0
    assert run(*typed[1][1:]).out.startswith("sgw_")
    assert first_steps(load_settings(registry=path)) == []


def test_where_anybody_may_ask_only_public_queries_are_answered(tmp_path: Path) -> None:
    (text,) = first_steps(load_settings(registry=tmp_path / "none.toml", allow_anonymous=True))
    assert "only public queries are answered" in text


def test_a_generic_gateway_needs_no_tenants(tmp_path: Path) -> None:
    assert first_steps(load_settings(registry=tmp_path / "none.toml", profile="generic")) == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, True),
        ({"admin_token": "x"}, False),
        ({"admin_tokens": {"one": {"digest": "sha256:" + "0" * 64}}}, False),
    ],
)
def test_without_an_admin_token_it_says_so(settings: dict[str, Any], told: bool) -> None:
    said = opening(load_settings(**settings), "http://127.0.0.1:1", "http://127.0.0.1:2")
    assert (NO_ADMIN in said) is told
    assert NO_ADMIN.count("\n") == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081/"),
        ("http://0.0.0.0:8081", "http://127.0.0.1:8081/"),
        ("http://[::]:8081", "http://[::1]:8081/"),
        ("http://10.0.0.0:8081", "http://10.0.0.0:8081/"),
    ],
)
def test_a_console_that_listens_everywhere_is_reached_here(url: str, shown: str) -> None:
    assert browsable(url) == shown


def test_on_a_terminal_it_says_where_the_console_is(tmp_path: Path) -> None:
    place = {"STATS_GATEWAY_REGISTRY": str(tmp_path / "tenants.toml")}
    with on_a_terminal("serve", "--port", "0", "--admin-port", "0", **place) as terminal:
        said = terminal.read_until(b"(Ctrl-C ends)").decode()
        admin = said.partition("admin ")[2].split()[0]
        assert f"Console: {admin}/" in said
        assert said.index("there are no tenants yet") < said.index("ready")
        assert "WARNING: no Redis" in said
        assert NO_ADMIN in said
        terminal.type(b"\x03")
        assert terminal.ended() == 0
