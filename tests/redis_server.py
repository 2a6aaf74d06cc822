"""A real redis-server of the tests' own, on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

BINARY = shutil.which("redis-server")
HINT = "needs a redis-server on the PATH: apt-get install redis-server, or brew install redis"


def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    """One redis-server process; ``url`` is what the gateway is given."""

    port: int
    process: subprocess.Popen[bytes]
    password: str = ""

    @property
    def url(self) -> str:
        auth = f":{self.password}@" if self.password else ""
        return f"redis://{auth}127.0.0.1:{self.port}/0"


@contextmanager
def redis_server(password: str = "", port: int | None = None) -> Iterator[RedisServer]:
    """Starts a redis-server, waits until it answers, and ends it."""
    assert BINARY is not None, HINT
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [BINARY, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        command += ["--appendonly", "no"] + (["--requirepass", password] if password else [])
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
            try:
                _wait_until_it_answers(port, process)
                yield RedisServer(port, process, password)
            finally:
                process.kill()


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None, "redis-server ended at once"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(64):
                return
        time.sleep(0.01)
    raise AssertionError("redis-server did not answer")
