"""Varnish with everything in memory."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import lacking, located
from benchmarks.contenders.nginx import basic
from benchmarks.contenders.process import Running, answers, await_ready, spawned
from benchmarks.contenders.setup import Holder, Setup
from benchmarks.contenders.template import filled, settled
from tests.redis_server import free_port

GRACE = 900
"""Seconds for which an answer serves while it is refreshed: Varnish has one for all."""


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
            "keys": _chain([(f'req.http.X-API-Key == "{h.key}"', "X-Tenant", h.name) for h in setup.holders]),
            "credentials": _chain(_credentials(setup.holders)),
            "closed_dates": settled(setup.today),
            "closed": setup.lifetimes.closed,
            "open": setup.lifetimes.open,
            "totals": setup.lifetimes.totals,
            "error": setup.lifetimes.error,
            "forbidden": setup.lifetimes.forbidden,
            "grace": GRACE,
        },
    )


def _credentials(holders: Sequence[Holder]) -> list[tuple[str, str, str]]:
    return [
        (
            f'req.http.X-Tenant == "{holder.name}" && req.http.X-Institution == "{pair.institution}"',
            "Authorization",
            basic(pair),
        )
        for holder in holders
        for pair in holder.pairs
    ]


def _chain(cases: Sequence[tuple[str, str, str]]) -> str:
    """VCL has no tables: each case is a condition, a request header, and its value."""
    tests = [
        f'if ({condition}) {{\n        set req.http.{header} = "{value}";\n    }}'
        for condition, header, value in cases
    ]
    return "    " + " else ".join(tests) if tests else ""
