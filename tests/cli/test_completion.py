"""Completion, as a real bash asks for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.options import COMPLETED_BYTES
from tests.cli.command import clean_environment, command, run

BASH = shutil.which("bash")
PROGRAM = Path(sys.executable).with_name("stats-gateway")
pytestmark = pytest.mark.skipif(
    BASH is None or not PROGRAM.exists(), reason="needs bash, and an installed command"
)

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_stats_gateway_completion "$PROGRAM"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a bash that knows of no other set-up."""
    assert BASH is not None
    known = clean_environment() | {"PROGRAM": str(PROGRAM), "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    command = [BASH, "--norc", "--noprofile", "-c", script, "bash", *words]
    return subprocess.run(command, env=known | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``--show-completion`` prints in a bash."""
    path = tmp_path_factory.mktemp("completion") / "script"
    shown = bash('"$PROGRAM" --show-completion > "$1"; echo $?', str(path))
    assert (shown.stdout, shown.stderr) == ("0\n", "")
    return path


def complete(*words: str, **environment: str) -> list[str]:
    """What the script's function asks for, without a bash each time."""
    line = {"COMP_WORDS": " ".join(["stats-gateway", *words]), "COMP_CWORD": str(len(words))}
    done = command(given=b"", _STATS_GATEWAY_COMPLETE="complete_bash", **line, **environment)
    assert (done.code, done.err) == (0, "")
    return done.out.split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.toml"
    for tenant in ("reports", "dashboards"):
        pair = ("--institution", "lboro", "--username", "lboro", "--password-stdin")
        assert run("tenant", "add", tenant, *pair, "--registry", str(path), given="hush").code == 0
    return path


def test_commands_and_options_are_completed(script: Path) -> None:
    done = bash(COMPLETE, str(script), "stats-gateway", "ten")
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", ["tenant"])
    assert complete("ten") == ["tenant"]
    assert set(complete("key", "")) == {"add", "list", "revoke", "rotate"}
    assert complete("serve", "--admin-h") == ["--admin-host"]


def test_tenants_and_institutions_are_completed(path: Path) -> None:
    registry = {"STATS_GATEWAY_REGISTRY": str(path)}
    assert complete("tenant", "show", "", **registry) == ["reports", "dashboards"]
    assert complete("key", "add", "rep", **registry) == ["reports"]
    assert complete("tenant", "show", "--registry", str(path), "d") == ["dashboards"]
    assert complete("explain", "/", "--tenant", "r", **registry) == ["reports"]
    assert complete("purge", "--institution", "", **registry) == ["lboro"]


def test_keys_are_completed_but_for_the_revoked(path: Path) -> None:
    made = [run("key", "add", "reports", "--registry", str(path)).out[4:14] for _ in range(2)]
    assert run("key", "revoke", made[0], "--registry", str(path)).code == 0
    assert complete("key", "rotate", "", STATS_GATEWAY_REGISTRY=str(path)) == made[1:]


def test_what_cannot_be_read_completes_nothing_and_says_nothing(tmp_path: Path) -> None:
    broken, pipe, huge = (tmp_path / name for name in ("broken", "pipe", "huge"))
    broken.write_text("[tenants")
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(COMPLETED_BYTES + 1)
    for place in (broken, pipe, huge, tmp_path, tmp_path / "none"):
        assert complete("tenant", "show", "", STATS_GATEWAY_REGISTRY=str(place)) == []
    assert complete("tenant", "show", "", STATS_GATEWAY_PORT="many") == []


def test_a_registry_in_redis_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        assert complete("tenant", "show", "", STATS_GATEWAY_REGISTRY=url) == []
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_zsh_gets_no_description_that_it_would_evaluate(path: Path) -> None:
    for name in ("\\$(touch pwned)", "Plain name"):
        assert run("tenant", "set", "reports", "--name", name, "--registry", str(path)).code == 0
        done = command(
            STATS_GATEWAY_REGISTRY=str(path),
            _STATS_GATEWAY_COMPLETE="complete_zsh",
            _TYPER_COMPLETE_ARGS="stats-gateway tenant show rep",
        )
        assert '"reports"' in done.out
        assert "touch" not in done.out
        assert ("Plain name" in done.out) is (name == "Plain name")


def test_installing_it_makes_a_new_bash_complete(tmp_path: Path) -> None:
    installed = bash('"$PROGRAM" --install-completion; echo $?', HOME=str(tmp_path))
    assert installed.stdout.endswith("0\n"), installed.stderr
    asked = bash("source ~/.bashrc; complete -p stats-gateway", HOME=str(tmp_path))
    assert "_stats_gateway_completion stats-gateway" in asked.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(shell: str) -> None:
    """typer finds the shell out by the processes above; where it is told, it prints what that shell reads."""
    done = command(_STATS_GATEWAY_COMPLETE=f"source_{shell}")
    assert "stats-gateway" in done.out
    assert done.code == 0
