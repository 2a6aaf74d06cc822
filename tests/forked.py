"""The project's commands as processes of their own, which need not each load the sources anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from multiprocessing import get_context
from pathlib import Path

FORKS = get_context("forkserver")
# Each child also loads its parent's main module, which may be pytest's.
FORKS.set_forkserver_preload(["gateway.cli", "gateway.server", "tests.warm", "pytest"])


class Forked:
    """``stats-gateway`` with these words, in a session of its own, with nothing of its parent's but what is given.
    Otherwise as a ``subprocess.Popen``."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        errors: Path | None = None,
        given: Path = Path(os.devnull),
    ) -> None:
        files = (str(given), str(output), str(errors or output))
        self._process = FORKS.Process(target=_run, args=(list(words), dict(environment), Path.cwd(), files))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("stats-gateway", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(words: list[str], environment: dict[str, str], folder: Path, files: Sequence[str]) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(files):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT
        os.dup2(os.open(path, flags, 0o600), number)
    # What an interpreter does as it starts
    sys.stdin = os.fdopen(0, closefd=False)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding=environment.get("PYTHONIOENCODING"))
    sys.argv[:] = ["stats-gateway", *words]
    from gateway.cli import main

    main()
