"""Getting started, as it is printed: typed into a shell on a terminal, in front of the sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.cli.command import clean_environment, command
from tests.cli.terminal import on_a_terminal
from tests.documents.pages import ROOT, blocks
from tests.integration.stage import await_answer, get, spawned
from tests.redis_server import RedisServer, free_port

PAGE = (ROOT / "docs" / "getting-started.md").read_text()
PUBLIC = "http://127.0.0.1:8080"
INSTALL = "pipx install .\n"
REDIS = "redis://127.0.0.1:6379/0"
TARGET = "/lboro/timeline/month/views/group/10?start_date=2025-01-01&end_date=2025-12-31"


def typed(redis_url: str) -> str:
    """All that the page has one type but the installation, of which the image's tests try every word."""
    first, *steps = blocks(PAGE, "sh")
    assert first == INSTALL
    script = "".join(steps)
    assert REDIS in script
    return script.replace(REDIS, redis_url)


def test_a_newcomer_gets_to_an_answer(shared_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    with spawned(["sandbox", "--port", str(free_port())], clean_environment(), tmp_path / "log") as sandbox:
        await_answer(f"{sandbox.url}/-/calls", sandbox)
        ports = {"STATS_GATEWAY_PORT": str(free_port()), "STATS_GATEWAY_ADMIN_PORT": str(free_port())}
        settings = ports | {
            "STATS_GATEWAY_UPSTREAM": sandbox.url,
            "STATS_GATEWAY_REDIS_PREFIX": prefix,
            "STATS_GATEWAY_REGISTRY": str(tmp_path / "tenants.toml"),
            "STATS_GATEWAY_DRAIN_SECONDS": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        shell = ["bash", "-ec", typed(shared_redis.url)]
        with on_a_terminal(program=shell, **settings) as terminal:
            terminal.read_until(b"Password of lboro at lboro: ")
            terminal.type(b"sandbox-lboro\n")
            asked = terminal.read_until(b"[y/N]: ").decode()
            key = re.findall(r"\bsgw_\w+", asked)[-1]
            terminal.type(b"y\n")
            said = terminal.read_until(b"(Ctrl-C ends)").decode()
            assert "ok        the service accepts lboro at lboro (of dashboard)" in said
            assert "admin token" not in said, "nothing is wrong with it"
            (token,) = re.findall(r"^[0-9a-f]{64}\b", asked, re.MULTILINE)
            public, admin = (f"http://127.0.0.1:{port}" for port in ports.values())
            direct = get(sandbox.url + TARGET, auth=("lboro", "sandbox-lboro"))
            for given in ({"headers": {"X-API-Key": key}}, {"auth": ("any", key)}):
                answer = get(public + TARGET, **given)
                assert (answer.status_code, answer.content) == (200, direct.content)
            assert get(f"{admin}/", follow_redirects=True).status_code == 200
            followed(tmp_path, key, public)
            top = command("top", "--once", "--admin-url", admin, STATS_GATEWAY_ADMIN_TOKEN=token)
            assert (top.code, "Budget    1.00/s" in top.out) == (0, True), top.said
            terminal.type(b"\x03")
            assert terminal.ended() == 0


def followed(folder: Path, key: str, public: str) -> None:
    """The page's second terminal: a first answer, which is then a hit, and a first report."""
    script = "".join(blocks(PAGE, "bash")).replace("sgw_…", key).replace(PUBLIC, public)
    script = script.replace("stats-gateway report ", f"stats-gateway report --gateway {public} ")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=folder,
        env=clean_environment() | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = re.findall(
        r"^cache-status: stats-gateway; (.*)\r?$", done.stdout, re.MULTILINE | re.IGNORECASE
    )
    assert first == "fwd=uri-miss; stored"
    assert second.startswith("hit; ttl=")
    assert re.search(r"^1001,\d+", done.stdout, re.MULTILINE), done.stdout


def test_the_ports_and_the_console_it_names_are_those_of_serve() -> None:
    assert "`http://127.0.0.1:8080`" in PAGE
    assert "`http://127.0.0.1:8081`" in PAGE
