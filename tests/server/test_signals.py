"""What signals do to ``serve``, in real processes and on real terminals."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, on_a_terminal
from tests.edge import COMMAND
from tests.integration.stage import staged
from tests.server.test_serve import REDIS, Serving, await_ready, children, serving, until
from tests.wire import Wire, ask, get

BOTH = pytest.mark.parametrize("workers", [1, 2])
EDITS = 10
QUICKER = 5.0
"""Seconds within which that many edits are seen, one after another, at SIGHUP; without, each takes about one."""


def marks(running: Serving) -> list[str]:
    path = running.folder / "marks"
    return path.read_text().splitlines() if path.exists() else []


def answers(running: Serving) -> bool:
    return ask(running.public, get("/pid")).status == 200


@BOTH
def test_sighup_reads_the_log_level_and_the_registry_again_in_every_process(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('log_level = "error"\n')
    with serving(workers=workers, config=file) as running:

        def says(pid: int) -> bool:
            """Whether a process logs what is no error."""
            before = running.output.count('"event": "ours"')
            with Wire(running.public) as wire:
                if int(wire.send(get("/pid")).answer().body) != pid:
                    return False
                wire.send(get("/say?1")).answer()
            until(lambda: running.output.count("printed") > 0)
            return running.output.count('"event": "ours"') > before

        pids = running.pids(workers)
        ask(running.public, get("/say?1"))
        until(lambda: "printed" in running.output)
        assert '"event": "ours"' not in running.output
        file.write_text('log_level = "info"\nqueue_max = 7\n')
        running.process.send_signal(signal.SIGHUP)
        for pid in pids:
            until(lambda pid=pid: says(pid))  # type: ignore[misc]
        assert until(lambda: marks(running)).count("looked again") == workers
        assert running.output.count('"event": "reloaded"') == 1
        assert '"needs_restart": ["queue_max"]' in running.output
        assert running.pids(workers) == pids


@BOTH
def test_settings_that_cannot_be_used_change_nothing_and_are_told(workers: int, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('log_level = "error"\n')
    with serving(workers=workers, config=file) as running:
        file.write_text('log_level = "loud"\n')
        running.process.send_signal(signal.SIGHUP)
        until(lambda: "reload_failed" in running.output)
        assert "log_level" in running.output
        assert until(lambda: len(marks(running)) == workers)
        assert answers(running)


def test_a_worker_that_is_replaced_has_the_new_log_level(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('log_level = "error"\n')
    with serving(workers=2, config=file) as running:
        victim, survivor = running.pids(2)
        file.write_text('log_level = "info"\n')
        running.process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded" in running.output)
        os.kill(victim, signal.SIGKILL)
        (newcomer,) = until(lambda: running.pids(2) - {victim, survivor})
        until(lambda: int(ask(running.public, get("/pid")).body) == newcomer)
        for _ in range(20):
            ask(running.public, get("/say?1"))
        until(lambda: running.output.count('"event": "ours"') == 20)


@BOTH
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE])
def test_what_does_not_end_it_ends_no_process_of_it_even_while_it_starts(
    workers: int, number: signal.Signals
) -> None:
    with serving(wait=False, workers=workers) as running:
        if workers > 1:
            until(lambda: len(children(running.process.pid)) == 3)  # the workers, and Python's resource tracker
            os.killpg(running.process.pid, number)
        await_ready(running)
        before = children(running.process.pid)
        os.killpg(running.process.pid, number)
        assert len(running.pids(workers)) == workers
        assert children(running.process.pid) == before
        running.process.terminate()
        assert running.ended() == 0


@BOTH
def test_sigquit_drains_as_sigterm_does(workers: int) -> None:
    with serving(workers=workers, drain_seconds=1.0) as running, Wire(running.public) as late:
        late.send(get("/slow?1.0"))
        until(lambda: answers(running))
        os.killpg(running.process.pid, signal.SIGQUIT)  # as Ctrl-\ does
        until(lambda: ask(running.public, get("/-/health/ready")).status == 503)
        running.process.send_signal(signal.SIGHUP)  # which neither hurries it nor begins anything now
        assert late.answer().body == b"slow but whole"
        assert running.ended() == 0
        assert marks(running) == ["ended"] * workers


def on_its_terminal(workers: int, registry: Path) -> dict[str, str]:
    settings: dict[str, object] = {"port": 0, "admin_port": 0, "workers": workers, "drain_seconds": 1.0}
    settings |= {"redis_url": REDIS, "registry": registry}
    return {f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


def hang_up(terminal: Terminal) -> None:
    """The window is closed: the system tells the terminal's processes."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, terminal.end)
    os.close(null)


@BOTH
def test_the_end_of_its_terminal_drains_it(workers: int, tmp_path: Path) -> None:
    registry = tmp_path / "marks"
    with on_a_terminal(program=COMMAND, **on_its_terminal(workers, registry)) as terminal:
        shown = terminal.read_until(b"ready\r\n").decode()
        port = int(shown.partition("public")[2].partition("http://127.0.0.1:")[2].split()[0])
        terminal.process.send_signal(signal.SIGHUP)  # by hand: the terminal is still there
        until(lambda: registry.exists() and registry.read_text() == "looked again\n" * workers)
        with Wire(("127.0.0.1", port)) as late:
            late.send(get("/slow?0.8"))
            hang_up(terminal)
            assert late.answer().body == b"slow but whole"
        assert terminal.process.wait(40) == 0
        assert registry.read_text().count("ended\n") == workers


def test_the_gateway_looks_at_its_registry_at_once() -> None:
    with staged() as stage:
        file = Path(stage.environment["STATS_GATEWAY_REGISTRY"])
        edits = []
        for number in range(EDITS):
            stage.tenant(f"tenant-{number}")
            edits.append(file.read_text())
        file.write_text(edits[0])
        gateway = stage.serve(log_format="json")
        began = time.monotonic()
        for seen, text in enumerate(edits[1:], 1):
            file.write_text(text)
            gateway.running.send_signal(signal.SIGHUP)
            until(lambda seen=seen: gateway.output.count('"registry_reloaded"') == seen)  # type: ignore[misc]
        assert time.monotonic() - began < QUICKER
