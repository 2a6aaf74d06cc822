"""Contender: something that stands in front of the service, by name."""

from __future__ import annotations

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
    """What is missing where a program is not on the path, nor where daemons are."""
    return "" if located(program) else f"{program} is not installed (apt-get install {package})"


def located(program: str) -> str | None:
    """Where a program is; daemons live outside the path of ordinary users."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")
