"""Types of setting values, checked and normalised, and environment variables that are no settings. Pure but for
``read_toml``.

A check returns the value to use, or raises ValueError with the reason.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from gateway.redis_url import EXPECTED, RedisPlace

BUDGET = re.compile(r"^(?P<count>\d+(\.\d+)?)/(?P<unit>s|m|h)$")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
CRON_FIELDS = 5
MOST_WARMINGS = 100

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
        *("warm", "warm_schedule", "warm_timezone"),
        *("derive", "derive_family", "derive_tenant", "public_totals_from_rankings"),
    }
)
"""Settings without effect with ``profile = "generic"``, which has neither tenants nor families, gate nor
breaker."""


def _words(value: Any) -> Any:
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


def _one_word(value: str) -> str:
    if re.search(r"\s", value):
        raise ValueError("must not have white space in it")
    return value


def _host_name(value: str) -> str:
    try:
        _one_word(value).encode("idna")
    except UnicodeError:
        raise ValueError("is no address or host name") from None
    return value


def _origin(value: str) -> str:
    otherwise = "must be an http:// or https:// URL without query or fragment"
    parts = _http(value, otherwise)
    if parts.query or parts.fragment:
        raise ValueError(otherwise)
    if parts.username or parts.password:
        raise ValueError("must not hold a username or password; credentials belong in the registry")
    return value.rstrip("/")


def _endpoint(value: str) -> str:
    parts = _http(value, "must be an http:// or https:// URL")
    if parts.username or parts.password:
        raise ValueError("must not hold a password; OTEL_EXPORTER_OTLP_HEADERS takes one")
    return value


def _http(value: str, otherwise: str) -> SplitResult:
    parts = urlsplit(_one_word(value))
    _ = parts.port  # raises ValueError for a malformed one
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(otherwise)
    return parts


def _optional(check: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: check(value) if value else value


def _budget(value: str) -> str:
    interval(value)
    return value


def interval(budget: str) -> float | None:
    """Seconds between two calls, None where they are unlimited. Raises ValueError for a malformed budget."""
    if budget == "unlimited":
        return None
    found = BUDGET.match(budget)
    if found is None or not 0 < float(found["count"]) < math.inf:
        raise ValueError("must be like 1/s, 30/m, 500/h, or unlimited")
    return SECONDS[found["unit"]] / float(found["count"])


def _methods(value: Collection[str]) -> tuple[str, ...]:
    for method in value:
        if not METHOD.fullmatch(method) or method in ("CONNECT", "TRACE"):
            raise ValueError(f"{method!r} cannot be passed on")
    return tuple(method for method in value if method not in ("GET", "HEAD"))


def _codings(value: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := set(value) - {"zstd", "gzip"}:
        raise ValueError(f"{sorted(unknown)[0]!r} is not one of zstd, gzip")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        ip_network(network, strict=False)
    return value


def _cron(value: str) -> str:
    if len(value.split()) != CRON_FIELDS:
        raise ValueError("must have cron's five fields: minute, hour, day of the month, month, day of the week")
    try:
        next(CronSim(value, datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(f"is no cron schedule: {error}") from None
    except StopIteration:
        raise ValueError("never comes") from None
    return value


def zone_of(name: str) -> tzinfo:
    """The time zone of this name; UTC needs no data base of zones, which small images lack. Raises as ``ZoneInfo``
    does."""
    return UTC if name == "UTC" else ZoneInfo(name)


def _zone(value: str) -> str:
    try:
        zone_of(value)
    except (ValueError, OSError):  # a folder of the data base, among others
        raise ValueError("is no time zone such as UTC or Europe/London") from None
    except KeyError:
        raise ValueError("is no time zone that is known here, such as UTC or Europe/London") from None
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a line's end, or another character that cannot be seen")
    return value


def _named(value: dict[str, Warming]) -> dict[str, Warming]:
    if wrong := [name for name in value if not NAME.fullmatch(name)]:
        raise ValueError(f"{wrong[0][:40]!r} must be a name of at most 40 of a-z, 0-9, - and _")
    if len(value) > MOST_WARMINGS:
        raise ValueError(f"there may be at most {MOST_WARMINGS}")
    return value


def _path_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _redis_place(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if "://" not in url:
        raise ValueError(f"must be memory://, {EXPECTED}")
    if url != "memory://":
        RedisPlace.parse(_one_word(url))
    return value


def _registry_place(value: SecretStr) -> SecretStr:
    place = value.get_secret_value()
    if "://" in place and place != "memory://":
        RedisPlace.parse(_one_word(place))
    if not place or place == "memory://":
        raise ValueError(f"must be a file, or {EXPECTED}")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86_400)]
SecondsOrNone = Annotated[float, Field(ge=0, le=10 * 365 * 86_400)]
Fraction = Annotated[float, Field(ge=0, le=1)]
HostName = Annotated[str, AfterValidator(_host_name)]
Origin = Annotated[str, AfterValidator(_origin)]
OptionalOrigin = Annotated[str, AfterValidator(_optional(_origin))]
Endpoint = Annotated[str, AfterValidator(_optional(_endpoint))]
Budget = Annotated[str, AfterValidator(_budget)]
Codings = Annotated[Words, AfterValidator(_codings)]
Methods = Annotated[Words, AfterValidator(_methods)]
Networks = Annotated[Words, AfterValidator(_networks)]
Cron = Annotated[str, AfterValidator(_cron)]
OptionalCron = Annotated[str, AfterValidator(_optional(_cron))]
Zone = Annotated[str, AfterValidator(_zone)]
Printable = Annotated[str, AfterValidator(_printable)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_place)]
RegistryPlace = Annotated[SecretStr, BeforeValidator(_path_text), AfterValidator(_registry_place)]


Derive = Literal["off", "shadow", "on"]
"""Whether answers are derived from others: not at all, only compared, or served where that is trusted."""

PREFIX = "STATS_GATEWAY_"
OTHERS = frozenset({"CONFIG", "ADMIN_URL", "KEY"})
"""Variables of the program that are no settings: the settings file, the admin API's URL for commands, and a
gateway key for client programs."""

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
"""Names and values of the variables that Kubernetes makes of each Service, and Docker of each link: for one called
``stats-gateway``, or ``stats-gateway-…``, they begin like ours."""


def complaint(error: Any) -> str:
    """What pydantic found wrong, with the setting's name and never its value."""
    name = ".".join(str(part) for part in error["loc"])
    reason = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown setting {name!r}"
    return f"{name} ({PREFIX}{name.upper()}): {reason}" if name else reason


def made_of_services(environment: Mapping[str, str]) -> set[str]:
    """The variables that Kubernetes or Docker made of a service's name, also where they have a setting's name.
    Docker also copies the environment of a link's target, below the link's name."""
    ours = {name: name.upper().removeprefix(PREFIX) for name in environment if name.upper().startswith(PREFIX)}
    found = {name for name, rest in ours.items() if _is_of_service(rest, environment[name].strip())}
    links = {ours[name].removesuffix("NAME") for name in found if ours[name].endswith("NAME")}
    copied = {name for name, rest in ours.items() for link in links if rest.startswith(f"{link}ENV_")}
    return found | copied


def unknown_variables(environment: Mapping[str, str], settings: Collection[str]) -> list[str]:
    """The variables with our prefix that name no setting, and have no other known meaning."""
    known = {name.upper() for name in settings} | OTHERS
    ours = {name for name in environment if name.upper().startswith(PREFIX)} - made_of_services(environment)
    return sorted(name for name in ours if name.upper().removeprefix(PREFIX) not in known)


def describe_unknown(variable: str, settings: Iterable[str]) -> str:
    """Describe an unknown variable, with the name that was perhaps meant."""
    names = [PREFIX + name.upper() for name in (*settings, *OTHERS)]
    shown = variable if variable.isprintable() else ascii(variable)
    return f"the environment variable {shown} names no setting{meant(variable.upper(), names)}"


def meant(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one."""
    near = get_close_matches(name, list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _is_of_service(name: str, value: str) -> bool:
    return any(names.fullmatch(name) and values.fullmatch(value) for names, values in SERVICES)


class AdminToken(BaseModel):
    """A named admin token: the SHA-256 of its text, and what it may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    role: Literal["read-only", "read-write"] = "read-only"


class Warming(BaseModel):
    """Targets that are warmed by schedule, as a ``tenant``: those in a ``file``, or those of a ``template`` with
    ``values`` for its places. Without a ``schedule`` of its own ``warm_schedule`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    tenant: Printable = Field(min_length=1)
    file: Printable = ""
    template: Printable = ""
    values: dict[Printable, tuple[Printable, ...]] = {}
    schedule: OptionalCron = ""

    @model_validator(mode="after")
    def _either(self) -> Self:
        if bool(self.file) == bool(self.template):
            raise ValueError("needs either a file or a template")
        if self.file and self.values:
            raise ValueError("values belong to a template")
        return self


Warmings = Annotated[dict[str, Warming], AfterValidator(_named)]


def read_toml(path: Path) -> dict[str, Any]:
    """A settings file's tables, with a byte order mark before them or without. Raises ValueError, OSError."""
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))
