"""nginx with proxy_cache, one worker; with njs it sorts parameters too."""

from __future__ import annotations

import getpass
import grp
import os
import resource
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.contender import lacking, located
from benchmarks.contenders.process import Running, answers, await_ready, spawned
from benchmarks.contenders.setup import Holder, Setup
from benchmarks.contenders.template import FOLDER, filled, settled
from gateway.tenants.tenant import Pair
from tests.redis_server import free_port

NJS = "ngx_http_js_module.so"
MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/local/lib/nginx/modules"))
MOST_FILES = 65_536
SPARE_FILES = 500
"""For what is neither a connection nor a file of the cache that is kept open."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """``sorts``: parameters are put in order by njs, which costs each request a little."""

    sorts: bool = False

    @property
    def name(self) -> str:
        return "nginx-sorted" if self.sorts else "nginx"

    @property
    def about(self) -> str:
        return "nginx, proxy_cache, parameters " + ("sorted by njs" if self.sorts else "as they come")

    def missing(self) -> str:
        if self.sorts and _njs() is None:
            return f"{NJS} is not installed (apt-get install libnginx-mod-http-js)"
        return lacking("nginx", "nginx")

    def version(self) -> str:
        said = subprocess.run([str(located("nginx")), "-v"], capture_output=True, text=True, check=False).stderr
        return said.strip().rpartition("/")[2]

    @contextmanager
    def started(self, setup: Setup) -> Iterator[Running]:
        port = free_port()
        with tempfile.TemporaryDirectory(dir=setup.folder, prefix="nginx-") as name:
            folder = Path(name)
            (folder / "nginx.conf").write_text(self.configuration(setup, folder, port))
            words = [str(located("nginx")), "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/error.log"]
            log = folder / "error.log"
            with spawned(words, log, setup.core) as process:
                ready = await_ready(process, log, answers(port, "/-/status"))
                yield Running(process, log, port, ready=ready)

    def configuration(self, setup: Setup, folder: Path, port: int) -> str:
        """The text of nginx.conf."""
        most = min(MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        return filled(
            "nginx.conf",
            {
                "user": f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}",
                "folder": folder,
                "open_files": most,
                "cached_files": most // 4,
                "connections": most - most // 4 - SPARE_FILES,
                "port": port,
                "origin_port": setup.origin_port,
                "keys": _lines(f'"{holder.key}" "{holder.name}";' for holder in setup.holders),
                "credentials": _lines(_credentials(setup.holders)),
                "closed_dates": settled(setup.today),
                "closed": whole(setup.lifetimes.closed),
                "open": whole(setup.lifetimes.open),
                "totals": whole(setup.lifetimes.totals),
                "error": whole(setup.lifetimes.error),
                "forbidden": whole(setup.lifetimes.forbidden),
                "modules": f"load_module {_njs()};" if self.sorts else "",
                "sorting": f'js_path "{FOLDER}"; js_import http from nginx.js; js_set $sorted http.sorted;'
                if self.sorts
                else "",
                "arguments": "$sorted" if self.sorts else "$args",
            },
        )


def whole(seconds: float) -> int:
    """The whole seconds that are nearest on average: nginx keeps for up to a second longer than it is told."""
    return max(1, int(seconds))


def basic(pair: Pair) -> str:
    """The value of the Authorization header."""
    return "Basic " + b64encode(f"{pair.username}:{pair.password}".encode()).decode()


def _credentials(holders: Sequence[Holder]) -> Iterator[str]:
    for holder in holders:
        for pair in holder.pairs:
            yield f'"{holder.name} {pair.institution}" "{basic(pair)}";'


def _lines(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)


def _njs() -> Path | None:
    return next((folder / NJS for folder in MODULES if (folder / NJS).is_file()), None)
