"""Where a Redis is, by its URL; and the masking of passwords in URLs and gateway keys in texts. Pure."""

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
        """Parse a URL. Raises ValueError, which never repeats it, for one that is malformed or ambiguous."""
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
    # Late, so that commands without a Redis do not wait for its client to load.
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


MASK = "***"
KEY = re.compile(r"sgw(?:_|%5[Ff])(?:[A-Za-z0-9_]|%5[Ff])+")
SCHEME = re.compile(r"(rediss?(\+sentinel|\+cluster)?|unix|memory|https?)", re.IGNORECASE)
USER = re.compile(r"([A-Za-z0-9_.-]*):")
HOST = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
PLACE = re.compile(rf"({HOST}(,{HOST})*)?(/[A-Za-z0-9_.-]*)*")


def without_keys(text: str) -> str:
    """Mask everything that looks like a gateway key, or like a part of one."""
    return KEY.sub(f"sgw_{MASK}", text)


def masked_url(url: str) -> str:
    """Mask a URL's password as ``***``, however oddly the URL is written.

    Only what cannot be a password is shown: a known scheme; a plain user in front of a ``:``; hosts, ports and
    path after the last ``@``. A password may hold ``/``, ``?``, ``#`` and ``@`` raw, and a query may hold one too
    (redis-py takes ``?password=``), so no query is shown, nor what follows an ``@`` behind a ``?``.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or not SCHEME.fullmatch(scheme):
        return "***"
    head, at, place = rest.rpartition("@")
    place, *query = re.split(r"[?#]", place, maxsplit=1)
    if "?" in head or "#" in head or not PLACE.fullmatch(place):
        place = "***"
    user = USER.match(head)
    who = f"{user[1]}:***@" if user else "***@" if at else ""
    return f"{scheme}://{who}{place}{'?***' if query else ''}"
