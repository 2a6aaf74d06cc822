"""Varnish with everything in memory."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from string import ascii_letters, digits

from benchmarks.contenders.contender import lacking, located
from benchmarks.contenders.nginx import basic
from benchmarks.contenders.process import Running, answers, await_ready, spawned
from benchmarks.contenders.setup import Holder, Setup
from benchmarks.contenders.template import filled, settled
from tests.redis_server import free_port

ALPHABET = sorted(ascii_letters + digits)
FEW = 4
PREFIX = len("sgw_") + 5
"""Characters of a key that are told apart."""


@dataclass(frozen=True, slots=True)
class Varnish:
    """One thread pool, since it has one core."""

    name: str = "varnish"
    about: str = "Varnish, answers in memory, parameters sorted"

    def missing(self) -> str:
        return lacking("varnishd", "varnish")

    def version(self) -> str:
        said = subprocess.run([str(located("varnishd")), "-V"], capture_output=True, text=True, check=False).stderr
        return said.partition("varnish-")[2].split()[0]

    @contextmanager
    def started(self, setup: Setup) -> Iterator[Running]:
        port = free_port()
        with tempfile.TemporaryDirectory(dir=setup.folder, prefix="varnish-") as name:
            folder = Path(name)
            (folder / "default.vcl").write_text(configuration(setup))
            log = folder / "log"
            words = [
                str(located("varnishd")),
                "-F",
                *("-j", "none"),
                *("-n", f"{name}/work"),
                *("-a", f"127.0.0.1:{port}"),
                *("-f", f"{name}/default.vcl"),
                *("-s", "malloc,1g"),
                *("-p", "thread_pools=1"),
                *("-p", "thread_pool_min=100"),
                *("-p", "listen_depth=16384"),
            ]
            with spawned(words, log, setup.core) as process:
                ready = await_ready(process, log, answers(port, "/-/status"))
                yield Running(process, log, port, ready=ready)


def configuration(setup: Setup) -> str:
    """The text of default.vcl."""
    return filled(
        "default.vcl",
        {
            "origin_port": setup.origin_port,
            "keys": by_key(sorted(setup.holders, key=attrgetter("key"))),
            "closed_dates": settled(setup.today),
            "closed": setup.lifetimes.closed,
            "open": setup.lifetimes.open,
            "totals": setup.lifetimes.totals,
            "error": setup.lifetimes.error,
            "forbidden": setup.lifetimes.forbidden,
            "grace": setup.lifetimes.grace,
        },
    )


def by_key(holders: Sequence[Holder]) -> str:
    """What a key opens. VCL has no tables: holders, sorted by key, are halved until few are left to compare."""
    middle = holders[len(holders) // 2].key[:PREFIX]
    below = [holder for holder in holders if holder.key[:PREFIX] < middle]
    if len(holders) <= FEW or not below:
        return "".join(map(_opened, holders))
    return (
        f'if (req.http.X-API-Key ~ "{_less(middle)}") {{ {by_key(below)} }}\n'
        f"else {{ {by_key(holders[len(below) :])} }}\n"
    )


def _opened(holder: Holder) -> str:
    credentials = "".join(
        f'if (req.http.X-Institution == "{pair.institution}") {{ set req.http.Authorization = "{basic(pair)}"; }}'
        for pair in holder.pairs
    )
    return (
        f'if (req.http.X-API-Key == "{holder.key}") {{ set req.http.X-Tenant = "{holder.name}"; {credentials} }}\n'
    )


def _less(text: str) -> str:
    """A regular expression for what is less than a text of letters and digits, by its first characters."""
    alternatives = (
        f"{text[:at]}[{''.join(each for each in ALPHABET if each < text[at])}]"
        for at in range(len(text))
        if text[at] in ALPHABET[1:]
    )
    return f"^(?:{'|'.join(alternatives)})"
