"""Open files: how many this process may have, and for how many clients' connections there is room.

A connection is an open file. Who takes the last of them takes away all else that needs one: Redis, the service,
the registry, the metrics, a health check. Hence clients may have those that a reserve leaves.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from gateway.redis_url import RedisPlace
from gateway.upstream.client import CONNECTIONS as UPSTREAM_CONNECTIONS

if TYPE_CHECKING:
    from gateway.settings import Settings

ADMIN_CONNECTIONS = 64
"""Most connections of the admin listener: consoles and scrapes, never the public."""
HEALTH_CONNECTIONS = 32
"""Most connections of the public listener beyond ``max_connections``, for health checks."""
OWN_FILES = 64
"""Listening sockets, event loop, metrics shared by workers, standard streams, registry, name look-ups."""
LEAST_SHARE = 4
"""Clients have at least this part of all open files (a quarter), however few there are."""
LATE_IMPORTS = (
    *("anyio.lowlevel", "anyio.streams.memory", "anyio.streams.stapled", "anyio._backends._asyncio"),
    *("anyio._core._sockets", "anyio._core._streams", "anyio._core._testing"),
    *("encodings.idna", "encodings.unicode_escape"),
)
"""Modules that libraries import when they are first used: an import opens a file."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def raise_limit() -> None:
    """Raises the soft limit of open files, here and in processes started from here, to the hard one."""
    with suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def import_ahead() -> None:
    """Imports now what would be imported under load."""
    for name in LATE_IMPORTS:
        with suppress(ImportError):  # where a library's other version has no such part
            import_module(name)


def limit() -> int | None:
    """The open files that this process may have, or None where nobody says."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def reserve(settings: Settings) -> int:
    """The open files that are not for clients of the public listener."""
    url = settings.redis_url.get_secret_value()
    nodes = 0 if url == "memory://" else len(RedisPlace.parse(url).hosts)
    redis = settings.redis_connections * nodes
    return ADMIN_CONNECTIONS + HEALTH_CONNECTIONS + UPSTREAM_CONNECTIONS + redis + OWN_FILES


def room(files: int | None, reserved: int, wanted: int) -> int:
    """For how many of the connections that are wanted there is room among so many open files."""
    if files is None:
        return wanted
    return min(wanted, max(files - reserved, files // LEAST_SHARE, 1))


def exhausted(descriptor: int) -> bool:
    """Whether no file can be opened now; tried with a copy of an open one."""
    try:
        os.close(os.dup(descriptor))
    except OSError as error:
        return error.errno in EXHAUSTED
    return False
