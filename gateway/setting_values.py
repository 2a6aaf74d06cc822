"""Setting values: texts as people, files and mounted secrets give them, and what they mean. Pure.

Environment: what variables that begin like the settings' are, where they are no settings. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

BUDGET = re.compile(r"^(?P<count>\d+(\.\d+)?)/(?P<unit>s|m|h)$")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

GENERIC: dict[str, Any] = {
    "budget": "unlimited",
    "refresh_floor": 0.0,
    "lifetime_jitter": 0.0,
    "stale_if_error": 0.0,
    "content_codings": (),
}
"""Defaults that differ with ``profile = "generic"``."""

STATISTICS_ONLY = frozenset(
    {
        *("pass_methods", "upstream_directives", "ignored_parameters", "encryption_keys", "registry_doubt"),
        *("gate_pause", "gate_longest", "breaker_pause", "breaker_longest"),
        *("lifetime_closed", "lifetime_open", "lifetime_totals", "lifetime_empty", "lifetime_error"),
        *("lifetime_forbidden", "lifetime_unknown", "lifetime_jitter"),
        *("allow_anonymous", "anonymous_requests_per_second", "anonymous_burst", "anonymous_requests_per_day"),
        *("anonymous_queued", "anonymous_share", "invalid_keys_per_minute"),
    }
)
"""Settings that change nothing with ``profile = "generic"``: it has neither tenants nor families, and judges
neither blocks nor credentials."""


def words(value: Any) -> Any:
    """A comma- or space-separated string as a list, so that one environment variable can hold several."""
    return re.split(r"[,\s]+", value.strip()) if isinstance(value, str) and value.strip() else value or ()


def stripped(value: Any) -> Any:
    """A value without white space around any of its texts."""
    match value:
        case str():
            return value.strip()
        case SecretStr():
            return SecretStr(value.get_secret_value().strip())
        case Mapping():
            return {name: stripped(each) for name, each in value.items()}
        case list() | tuple():
            return [stripped(each) for each in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """All texts in a value."""
    match value:
        case str():
            yield value
        case SecretStr():
            yield value.get_secret_value()
        case Mapping():
            for name, each in value.items():
                yield name
                yield from texts(each)
        case list() | tuple():
            for each in value:
                yield from texts(each)


def one_word(value: str) -> str:
    """A text as it is. Raises ValueError for one with white space in it."""
    if re.search(r"\s", value):
        raise ValueError("must not have white space in it")
    return value


def host_name(value: str) -> str:
    """A name or an address, as it is. Raises ValueError for what cannot be looked up."""
    try:
        one_word(value).encode("idna")
    except UnicodeError:
        raise ValueError("is no address or host name") from None
    return value


def origin(value: str) -> str:
    """An HTTP base URL, without slashes at its end. Raises ValueError for another."""
    otherwise = "must be an http:// or https:// URL without query or fragment"
    parts = _http(value, otherwise)
    if parts.query or parts.fragment:
        raise ValueError(otherwise)
    if parts.username or parts.password:
        raise ValueError("must not hold a username or password; credentials belong in the registry")
    return value.rstrip("/")


def endpoint(value: str) -> str:
    """A collector's URL, as it is. Raises ValueError for another."""
    parts = _http(value, "must be an http:// or https:// URL")
    if parts.username or parts.password:
        raise ValueError("must not hold a password; OTEL_EXPORTER_OTLP_HEADERS takes one")
    return value


def _http(value: str, otherwise: str) -> SplitResult:
    parts = urlsplit(one_word(value))
    _ = parts.port  # raises ValueError for what is none
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(otherwise)
    return parts


def interval(budget: str) -> float | None:
    """Seconds between two calls, None where they are unlimited. Raises ValueError for what is no budget."""
    if budget == "unlimited":
        return None
    found = BUDGET.match(budget)
    if found is None or not 0 < float(found["count"]) < math.inf:
        raise ValueError("must be like 1/s, 30/m, 500/h, or unlimited")
    return SECONDS[found["unit"]] / float(found["count"])


def methods(value: Collection[str]) -> tuple[str, ...]:
    """The methods besides GET and HEAD. Raises ValueError for one that cannot be passed on."""
    for method in value:
        if not METHOD.fullmatch(method) or method in ("CONNECT", "TRACE"):
            raise ValueError(f"{method!r} cannot be passed on")
    return tuple(method for method in value if method not in ("GET", "HEAD"))


PREFIX = "STATS_GATEWAY_"
OTHERS = frozenset({"CONFIG", "ADMIN_URL", "KEY"})
"""Of the program's, and no settings: the settings file, the admin API that commands ask, and a gateway key for the
programs that ask the gateway."""

URL, ADDRESS, NUMBER = r"(tcp|udp|sctp)://\S+", r"[0-9A-Fa-f.:]+", r"\d{1,5}"
SERVICES = [
    (re.compile(rf"(.+_)?{name}"), re.compile(value))
    for name, value in (
        ("SERVICE_HOST", ADDRESS),
        ("SERVICE_PORT(_.+)?", NUMBER),
        ("PORT", URL),
        (r"PORT_\d+_(TCP|UDP|SCTP)", URL),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PROTO", "tcp|udp|sctp"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PORT", NUMBER),
        (r"PORT_\d+_(TCP|UDP|SCTP)_ADDR", ADDRESS),
        ("NAME", r"/[^/\s]+/[^/\s]+"),
    )
]
"""Names and values of the variables that Kubernetes makes of each Service, and Docker of each link: those of one
called ``stats-gateway``, or ``stats-gateway-…``, begin like ours."""


def made_of_services(environment: Mapping[str, str]) -> set[str]:
    """The variables that Kubernetes or Docker made of a service's name, also where they have a setting's name.

    Docker copies the environment of what is behind a link, too, beside the link's own name.
    """
    ours = {name: name.upper().removeprefix(PREFIX) for name in environment if name.upper().startswith(PREFIX)}
    found = {name for name, rest in ours.items() if _is_of_service(rest, environment[name].strip())}
    links = {ours[name].removesuffix("NAME") for name in found if ours[name].endswith("NAME")}
    copied = {name for name, rest in ours.items() for link in links if rest.startswith(f"{link}ENV_")}
    return found | copied


def strangers(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """The variables with our prefix that name no setting, and are nothing else that belongs there."""
    known = {name.upper() for name in settings} | OTHERS
    ours = {name for name in environment if name.upper().startswith(PREFIX)} - made_of_services(environment)
    return sorted(name for name in ours if name.upper().removeprefix(PREFIX) not in known)


def misnomer(variable: str, settings: Iterable[str]) -> str:
    """What to say of such a variable, with the one that it was perhaps meant to be."""
    names = [PREFIX + name.upper() for name in (*settings, *OTHERS)]
    shown = variable if variable.isprintable() else ascii(variable)
    return f"the environment variable {shown} names no setting{meant(variable.upper(), names)}"


def meant(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about a name that nothing has: the nearest that something has."""
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _is_of_service(name: str, value: str) -> bool:
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in SERVICES)
