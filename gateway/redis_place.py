"""RedisPlace: where a Redis is and how it is reached, as its URL says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

Address = tuple[str, int]
Kind = Literal["one", "sentinel", "cluster"]
KINDS: dict[str, Kind] = {"": "one", "sentinel": "sentinel", "cluster": "cluster"}
PORTS = {"one": 6379, "sentinel": 26_379, "cluster": 6379}
EXPECTED = (
    "redis[s]://[user:password@]host[:port][/db], redis[s]+sentinel://[user:password@]host[:port],…/service[/db], "
    "or redis[s]+cluster://[user:password@]host[:port],…"
)


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """One server, the sentinels that know the master of a ``service``, or some nodes of a cluster.

    ``options`` are redis-py's for a connection: user, password, database, and of TLS what the URL's query says
    (``ssl_ca_certs=/etc/ca.pem``); ``secure`` says that there is TLS.
    """

    kind: Kind
    hosts: tuple[Address, ...]
    service: str = ""
    secure: bool = False
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisPlace:
        """Raises ValueError, which never repeats the URL, for one that is none or has two readings."""
        scheme, mark, rest = url.partition("://")
        base, plus, suffix = scheme.lower().partition("+")
        kind = KINDS.get(suffix)
        if not mark or base not in ("redis", "rediss") or kind is None or (plus and not suffix):
            raise ValueError(f"must be {EXPECTED}")
        authority, path, query = _parts(rest)
        if "@" in path + query or authority.count("@") > 1:
            raise ValueError("holds a character that must be percent-encoded: / ? # @ in a password")
        who, at, listed = authority.rpartition("@")
        hosts = tuple(_address(each, PORTS[kind]) for each in listed.split(","))
        if kind == "one" and len(hosts) > 1:
            raise ValueError("names several hosts; that goes with redis+sentinel:// or redis+cluster://")
        service, database = _service(path) if kind == "sentinel" else ("", path)
        if not re.fullmatch("(/[0-9]*)?", database):
            raise ValueError("has a database that is no number")
        if kind == "cluster" and database.strip("/") not in ("", "0"):
            raise ValueError("a cluster has no databases but 0")
        return cls(kind, hosts, service, base == "rediss", _options(base, who + at, database, query))


def _parts(rest: str) -> tuple[str, str, str]:
    """Authority, path, query. Raises ValueError for a fragment, which a raw ``#`` in a password looks like."""
    if "#" in rest:
        raise ValueError("holds a character that must be percent-encoded: / ? # @ in a password")
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    return authority, slash + path, query


def _address(text: str, default: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not parts.hostname or parts.path:
        raise ValueError("has a bad port, or a host that is none; / ? # @ in a password must be percent-encoded")
    return parts.hostname, default if port is None else port


def _service(path: str) -> tuple[str, str]:
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("must name the sentinels' service: redis+sentinel://host,…/service")
    return service, f"/{database}" if database else ""


def _options(scheme: str, who: str, database: str, query: str) -> dict[str, Any]:
    # Here, so that commands that need no Redis need not wait for its client to load.
    from redis.asyncio.connection import parse_url

    try:
        options: dict[str, Any] = dict(
            parse_url(f"{scheme}://{who}localhost{database}" + (f"?{query}" if query else ""))
        )
    except ValueError:
        raise ValueError("has a database or an option that is none") from None
    for name in ("connection_class", "host", "port"):
        options.pop(name, None)
    return options
