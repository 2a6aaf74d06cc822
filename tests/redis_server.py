"""A real redis-server of the tests' own, on a free loopback port, with everything that can befall one."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

BINARY = shutil.which("redis-server")
BELOW_EPHEMERAL = range(11_000, 32_768)
"""Linux gives outgoing connections the ports above these, and others those from 49,152 on (RFC 6335 §6)."""
HINT = "needs a redis-server on the PATH: apt-get install redis-server, or brew install redis"


def free_port() -> int:
    """A loopback TCP port that nobody listens on, and that no outgoing connection is given: a server that is
    started again finds its port free."""
    while True:
        port = secrets.choice(BELOW_EPHEMERAL)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One redis-server process, which keeps nothing when it ends unless it ``remembers``; ``url`` is what the
    gateway is given."""

    def __init__(
        self,
        port: int,
        folder: str,
        password: str = "",
        *,
        remembers: bool = False,
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._more = more
        self._environment = environment
        self._remembers = remembers
        self.password = password
        self.folder = folder
        self.binary = BINARY
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        auth = f":{self.password}@" if self.password else ""
        return f"redis://{auth}127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        """What it says, of all its runs."""
        return Path(self.folder) / "redis.log"

    @property
    def command(self) -> list[str]:
        """How it is started."""
        words = [
            str(self.binary),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            self.folder,
        ]
        # Else what was acknowledged could still wait for an fsync under way, and a kill would lose it.
        words += ["--appendonly", "yes", "--appendfsync", "always"] if self._remembers else ["--appendonly", "no"]
        words += ["--requirepass", self.password] if self.password else []
        return [*words, *self._more]

    def start(self) -> None:
        """Starts it on its port, and waits until it answers."""
        assert BINARY is not None, HINT
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )
        _wait_until_it_answers(self.port, self.process)

    def stop(self) -> None:
        """SIGTERM: it closes its connections and ends."""
        self._signal(signal.SIGTERM)
        self._wait()

    def kill(self) -> None:
        """SIGKILL, paused or not."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self._wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay and are even made, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def call(self, *words: str | int) -> Any:
        """One command of the tests' own."""
        with redis.Redis(port=self.port, password=self.password or None, socket_timeout=5) as client:
            return client.execute_command(*words)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _wait(self) -> None:
        assert self.process is not None
        self.process.wait(timeout=10)
        self.process = None


@contextmanager
def redis_server(
    password: str = "",
    port: int | None = None,
    *,
    remembers: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[RedisServer]:
    """Starts a redis-server, waits until it answers, and ends it."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(port or free_port(), folder, password, remembers=remembers, environment=environment)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "redis-server ended at once"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            said = connection.recv(64)
            if said and not said.startswith(b"-LOADING"):
                return
        time.sleep(0.01)
    raise AssertionError("redis-server did not answer")
