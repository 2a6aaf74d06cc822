"""Environment: what variables that begin like the settings' are, where they are no settings. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

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
