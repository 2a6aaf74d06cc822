"""Clients in other languages: a script that reads what to ask, and writes what was answered, one JSON a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64decode
from functools import cache
from pathlib import Path
from typing import Any

from tests.clients.asking import Answer, Ask, Client, How, Place, program

HERE = Path(__file__).parent


class Script:
    """The script as a process, which starts when it is first asked."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._running: subprocess.Popen[bytes] | None = None

    def ask(self, base: str, asked: Ask) -> list[Answer]:
        """What comes back. Raises AssertionError with what the script says of its failure."""
        if self._running is None:
            environment = os.environ | {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
            self._running = subprocess.Popen(
                self._words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        stdin, stdout = self._running.stdin, self._running.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(_told(base, asked)).encode() + b"\n")
        stdin.flush()
        line = stdout.readline()
        assert line, f"{self._words[0]} ended"
        said = json.loads(line)
        assert isinstance(said, list), said
        return [
            Answer.of(each["status"], [(n, v) for n, v in each["headers"]], b64decode(each["body"]))
            for each in said
        ]

    def close(self) -> None:
        """Ends the process, if there is one."""
        running, self._running = self._running, None
        if running is not None:
            running.communicate(timeout=20)


def _told(base: str, asked: Ask) -> dict[str, Any]:
    return {
        "url": asked.url(base),
        "method": asked.method,
        "parameters": asked.parameters,
        "headers": asked.headers,
        "content": None if asked.content is None else asked.content.decode(),
        "user": asked.option,
        "times": asked.times,
        "at_once": asked.how is How.AT_ONCE,
    }


@cache
def _without_httr2() -> str:
    if not shutil.which("Rscript"):
        return "Rscript is not installed"
    asking = "q(status = !all(sapply(c('httr2', 'jsonlite'), requireNamespace, quietly = TRUE)))"
    done = subprocess.run(["Rscript", "-e", asking], capture_output=True, timeout=60, check=False)
    return "R has no httr2 or no jsonlite" if done.returncode else ""


_NODE = Script("node", str(HERE / "node_fetch.mjs"))
_R = Script("Rscript", str(HERE / "httr2.R"))
_CAN = frozenset({How.CODED, How.IN_A_SESSION, How.AT_ONCE})

NODE = Client("node", _NODE.ask, _CAN, missing=program("node"), close=_NODE.close)
HTTR2 = Client(
    "httr2", _R.ask, _CAN, frozenset({Place.OPTION, Place.URL}), missing=_without_httr2, ours=False, close=_R.close
)
