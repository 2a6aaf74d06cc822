"""``serve`` as real processes: signals, drain, workers and their supervisor."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import SecretStr

from gateway.server.serve import opening, restart_pause
from gateway.settings import Settings
from tests.edge import COMMAND, ROOT
from tests.wire import Address, Wire, ask, get

T = TypeVar("T")
PATIENCE = 40.0
REDIS = "redis://user:hush@127.0.0.1:1/0"


@dataclass
class Serving:
    """A running ``serve``."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str]

    def address(self, listener: str) -> Address:
        """Where the public or the admin listener is."""
        found = re.search(rf"{listener} +http://([\d.]+):(\d+)", "".join(self.lines))
        assert found, self.output
        return found[1], int(found[2])

    @property
    def public(self) -> Address:
        return self.address("public")

    @property
    def output(self) -> str:
        return "".join(self.lines) + self.folder.joinpath("errors").read_text()

    def ended(self) -> int:
        """Waits for the end; the exit code."""
        return self.process.wait(PATIENCE)

    def pids(self, count: int) -> set[int]:
        """The processes that answer, once there are that many."""
        return until(lambda: found if len(found := self._pids()) == count else None)

    def _pids(self) -> set[int]:
        try:
            return {int(ask(self.public, get("/pid", "Connection: close")).body) for _ in range(20)}
        except (OSError, AssertionError):  # a connection that its worker took to the grave
            return set()


def until(attempt: Callable[[], T | None]) -> T:
    """What an attempt yields, once it yields something that is true."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := attempt():
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it did not come about in time")


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits for its parent to notice has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextmanager
def serving(
    *, wait: bool = True, shell: str = 'exec "$@"', stderr: int | None = None, **settings: object
) -> Iterator[Serving]:
    """The small application, served with these settings in a process of its own, started by a ``shell``'s line;
    what it says on stderr is kept unless it is given one."""
    chosen = {"port": 0, "admin_port": 0, "drain_seconds": 0, "redis_url": REDIS} | settings
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATS_GATEWAY_")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen["registry"] = folder / "marks"
        given = {f"STATS_GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()}
        with (folder / "errors").open("w") as errors, subprocess.Popen(
            ["sh", "-c", shell, "sh", *COMMAND], cwd=ROOT, env=kept | given | {"TMPDIR": name}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr or errors, start_new_session=True,
        ) as process:  # fmt: skip
            running = Serving(process, folder, [])
            try:
                if wait:
                    await_ready(running)
                yield running
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # a session of its own: these and no others


def await_ready(running: Serving) -> None:
    """Reads what it says until it is ready. What starts and never says so is ended."""
    assert running.process.stdout is not None
    watchdog = threading.Timer(PATIENCE, running.process.kill)
    watchdog.start()
    for line in running.process.stdout:
        running.lines.append(line)
        if line == "ready\n":
            break
    watchdog.cancel()
    assert running.lines[-1:] == ["ready\n"], running.output


@contextmanager
def clients(address: Address, count: int) -> Iterator[list[Requests]]:
    """That many clients that ask without a pause, each on one keep-alive connection."""
    asking = [Requests(address) for _ in range(count)]
    threads = [threading.Thread(target=each.run) for each in asking]
    for thread in threads:
        thread.start()
    until(lambda: all(len(each.closes) > 5 for each in asking))
    try:
        yield asking
    finally:
        for thread in threads:
            thread.join(PATIENCE)


class Requests:
    """A client that keeps asking until it is told that the connection closes."""

    def __init__(self, address: Address) -> None:
        self.wire = Wire(address)
        self.closes: list[bool] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self.wire as wire:
                while True not in self.closes:
                    answer = wire.send(get("/slow?0.01")).answer()
                    assert answer.body == b"slow but whole"
                    self.closes.append(answer.closes)
        except (OSError, AssertionError) as failure:
            self.failure = failure


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_answers_everyone_whole_and_ends_well(workers: int) -> None:
    with serving(workers=workers, drain_seconds=0.5) as running, clients(running.public, 8) as asking:
        with Wire(running.public) as late:
            late.send(get("/slow?1.0"))
            running.process.terminate()
            until(lambda: ask(running.public, get("/-/health/ready")).status == 503)
            during = ask(running.public, get("/pid"))
            assert (during.status, during.closes) == (200, True)
            assert late.answer().body == b"slow but whole"
            assert late.ended()
        assert running.ended() == 0
        for each in asking:
            assert each.failure is None
            assert each.closes[-1]
        assert (running.folder / "marks").read_text() == "ended\n" * workers
        assert (running.folder / "errors").read_text() == ""


def test_idle_connections_are_closed_when_the_drain_ends() -> None:
    with serving(drain_seconds=0.3) as running, Wire(running.public) as idle:
        assert idle.send(get("/pid")).answer().status == 200
        began = time.monotonic()
        running.process.terminate()
        assert idle.ended()
        assert time.monotonic() - began >= 0.3
        assert running.ended() == 0


def test_sigint_ends_without_draining_but_finishes_what_is_in_flight() -> None:
    with serving(workers=2, drain_seconds=60) as running, Wire(running.public) as wire:
        wire.send(get("/slow?0.5"))
        until(lambda: ask(running.public, get("/pid")).status == 200)
        os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: supervisor and workers alike
        assert wire.answer().body == b"slow but whole"
        assert running.ended() == 0


@pytest.mark.parametrize(("workers", "second", "code"), [(1, signal.SIGTERM, 143), (2, signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(workers: int, second: signal.Signals, code: int) -> None:
    with serving(workers=workers, drain_seconds=60) as running:
        pids = running.pids(workers)
        running.process.terminate()
        until(lambda: ask(running.public, get("/-/health/ready")).status == 503)
        running.process.send_signal(second)
        assert running.ended() == code
        assert all(gone(pid) for pid in pids)
        assert not list(running.folder.glob("stats-gateway-metrics-*"))


def test_workers_share_the_ports_and_a_folder_for_their_metrics_and_are_replaced_when_killed() -> None:
    with serving(workers=2) as running:
        victim, survivor = running.pids(2)
        assert running.process.pid not in (victim, survivor)
        assert int(ask(running.address("admin"), get("/pid")).body) in (victim, survivor)
        folder = Path(ask(running.address("admin"), get("/metrics-folder")).body.decode())
        assert folder.is_dir()
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in (now := running.pids(2)) and survivor in now)
        assert "worker_died" in running.output
        running.process.terminate()
        assert running.ended() == 0
        assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_while_the_workers_start_is_a_good_end(number: signal.Signals) -> None:
    with serving(wait=False, workers=2) as running:
        until(lambda: len(children(running.process.pid)) == 3)  # the workers, and Python's resource tracker
        os.killpg(running.process.pid, number)
        assert running.ended() == 0
        assert running.output == ""


def children(pid: int) -> list[str]:
    """The processes that a process has started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_workers_end_when_their_supervisor_was_killed() -> None:
    with serving(workers=2, drain_seconds=60) as running:
        pids = running.pids(2)
        running.process.kill()
        until(lambda: all(gone(pid) for pid in pids))
        assert [pid for pid in pids if not gone(pid)] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_settings_that_the_application_refuses_are_one_line(workers: int) -> None:
    with serving(wait=False, workers=workers, upstream="http://refused") as running:
        assert running.ended() == 2
        assert running.output == "these settings cannot be used\n"


def test_an_application_that_does_not_start_is_a_failure() -> None:
    with serving(wait=False, upstream="http://broken") as running:
        assert running.ended() == 1
        assert "a part does not start" in running.output


def test_workers_that_never_start_are_given_up() -> None:
    with serving(wait=False, workers=2, upstream="http://broken") as running:
        assert running.ended() == 1
        assert "workers_keep_dying" in running.output


@pytest.mark.parametrize("listener", ["port", "admin_port"])
def test_a_port_in_use_is_one_line(listener: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(wait=False, **{listener: port}) as running:
            assert running.ended() == 2
            name = "public" if listener == "port" else "admin"
            expected = f"the {name} listener cannot listen on 127.0.0.1:{port}: Address already in use\n"
            assert running.output == expected


def test_a_host_that_does_not_exist_is_one_line() -> None:
    with serving(wait=False, host="127.0.0.256") as running:
        assert running.ended() == 2
        assert running.output.startswith("the public listener cannot use 127.0.0.256: ")
        assert running.output.count("\n") == 1


def settings(redis_url: str = REDIS, **more: object) -> Settings:
    return Settings.model_validate({"redis_url": SecretStr(redis_url), **more})


def test_the_opening_names_everything_and_no_secret() -> None:
    said = opening(settings(workers=3), "http://127.0.0.1:1", "http://127.0.0.1:2")
    for part in ("127.0.0.1:1", "127.0.0.1:2", "https://stats.figshare.com", "1/s, burst 5", "3", "tenants.toml"):
        assert part in said
    assert "redis://user:***@127.0.0.1:1/0" in said
    assert "hush" not in said
    assert "WARNING" not in said


def test_the_opening_is_loud_about_memory() -> None:
    assert "WARNING" in opening(settings("memory://"), "", "")


def test_pauses_between_restarts_grow_up_to_a_limit() -> None:
    pauses = [restart_pause(deaths) for deaths in (1, 2, 3, 4, 50, 5_000)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 10.0, 10.0]
