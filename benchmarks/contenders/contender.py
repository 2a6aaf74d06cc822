"""Contender: something that stands in front of the service, by name."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import AbstractContextManager
from typing import Protocol

from benchmarks.contenders.process import Running
from benchmarks.contenders.setup import Setup


class Contender(Protocol):
    """``started`` runs it as long as the block lasts; ``missing`` says what it lacks here, or nothing."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    def missing(self) -> str: ...

    def version(self) -> str: ...

    def started(self, setup: Setup) -> AbstractContextManager[Running]: ...


def lacking(program: str, package: str) -> str:
    """What is missing, in words, where a program is not to be found; else nothing."""
    return "" if located(program) else f"{program} is not installed (apt-get install {package})"


def located(program: str) -> str | None:
    """Where a program is: on the path, or beside it, since ordinary users' paths leave out where daemons are."""
    path = os.environ.get("PATH", os.defpath)
    beside = (re.sub(r"\bbin/?$", "sbin", folder) for folder in path.split(os.pathsep))
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(beside))
