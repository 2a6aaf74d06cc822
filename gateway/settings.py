"""The settings, typed and documented.

A value comes from, in this order: a flag of ``serve``; an environment variable ``STATS_GATEWAY_<NAME>``; the TOML
file given with ``--config`` or ``STATS_GATEWAY_CONFIG``; the default here. White space around it is ignored, since
a mounted secret ends with a newline.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from gateway.catalogue.families import Family
from gateway.errors import UnusableSettings
from gateway.setting_values import (
    GENERIC,
    PREFIX,
    AdminToken,
    Budget,
    Codings,
    Cron,
    Derive,
    Endpoint,
    Fraction,
    HostName,
    Methods,
    Networks,
    OptionalOrigin,
    Origin,
    RedisUrl,
    RegistryPlace,
    Seconds,
    SecondsOrNone,
    Warmings,
    Words,
    Zone,
    complaint,
    describe_unknown,
    interval,
    made_of_services,
    meant,
    read_toml,
    stripped,
    texts,
    unknown_variables,
)


def _by_family(value: dict[str, Any]) -> dict[str, Any]:
    if unknown := set(value) - set(Family):
        raise ValueError(f"{sorted(unknown)[0]!r} is not one of {', '.join(sorted(Family))}")
    return value


SecondsByFamily = Annotated[dict[str, Seconds], AfterValidator(_by_family)]
DeriveByFamily = Annotated[dict[str, Derive], AfterValidator(_by_family)]


class Settings(BaseSettings):
    """The effective settings of one process. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    # Listening
    host: HostName = Field("127.0.0.1", description="address of the public listener")
    port: int = Field(8080, ge=0, le=65_535, description="port of the public listener")
    admin_host: HostName = Field("127.0.0.1", description="address of the admin listener")
    admin_port: int = Field(8081, ge=0, le=65_535, description="port of the admin listener")
    workers: int = Field(1, ge=1, le=256, description="worker processes")
    fleet_size: int = Field(
        1,
        ge=1,
        le=100_000,
        description="processes there may be, replicas × workers: by so many each divides the budget without Redis",
    )
    public_url: OptionalOrigin = Field(
        "", description="where clients reach the public listener, as the console's curl lines name it"
    )
    public_hosts: Words = Field((), description="names that clients call: for these, networks say who asks")
    max_connections: int = Field(
        10_000, ge=1, description="open connections per worker; fewer where open files do not allow"
    )
    head_max_bytes: int = Field(16_384, ge=1_024, description="size of a request head, else 431")
    head_timeout: Seconds = Field(10.0, description="time that a request head may take, else 408")
    body_timeout: Seconds = Field(30.0, description="time that a request body may take, else 408")
    send_timeout: Seconds = Field(30.0, description="time that a client may leave an answer unread")
    target_max_bytes: int = Field(4_096, ge=64, description="length of a request target, else 414")
    drain_seconds: float = Field(5.0, ge=0, le=3_600, description="time between SIGTERM and closing")

    pass_methods: Methods = Field((), description="methods besides GET and HEAD that are passed on, uncached")
    request_max_bytes: int = Field(1024 * 1024, ge=0, description="size of a request body, else 413")

    # The service
    profile: Literal["statistics", "generic"] = Field(
        "statistics", description="generic: a plain caching proxy of any one origin, without tenants"
    )
    upstream: Origin = Field("https://stats.figshare.com", description="base URL of the statistics service")
    upstream_ca_file: str = Field(
        "",
        description="PEM file of the only authorities that may vouch for the service's certificate; without it "
        "SSL_CERT_FILE and SSL_CERT_DIR count, else the system's trust store",
    )
    upstream_timeout: Seconds = Field(20.0, description="total time of an upstream call")
    connect_timeout: Seconds = Field(5.0, description="time to connect to the upstream")
    read_timeout: Seconds = Field(15.0, description="silence allowed while reading an upstream answer")
    write_timeout: Seconds = Field(5.0, description="time to write an upstream request")
    pool_timeout: Seconds = Field(5.0, description="time to wait for an upstream connection")
    body_max_bytes: int = Field(8 * 1024 * 1024, ge=1_024, description="size of an upstream answer")
    budget: Budget = Field("1/s", description="upstream calls of the whole fleet: N/s, N/m, N/h or unlimited")
    budget_burst: int = Field(5, ge=1, le=1_000, description="upstream calls that may follow at once")
    jobs_share: float = Field(0.1, ge=0, le=0.9, description="part of the budget that jobs keep in a busy hour")
    warm_share: float = Field(0.5, ge=0.01, le=1, description="part of what all others leave that warming may use")
    upstream_directives: Literal["obey", "ignore"] = Field(
        "obey", description="whether the service's own Cache-Control bounds the lifetimes of known queries"
    )

    gate_pause: Seconds = Field(5.0, description="first pause after a block without Retry-After; then growing")
    gate_longest: Seconds = Field(900.0, description="longest pause, also where Retry-After asks for more")
    breaker_pause: Seconds = Field(10.0, description="first pause of a refused credential; then growing")
    breaker_longest: Seconds = Field(900.0, description="longest pause of a refused credential")

    # The queue
    caller_timeout: Seconds = Field(30.0, description="time that a caller waits for an answer, else 503")
    queue_max: int = Field(1_000, ge=1, description="calls that may wait in the queue")
    queue_max_per_tenant: int = Field(200, ge=1, description="calls that may wait for one tenant")

    # Jobs
    jobs_per_tenant: int = Field(10, ge=1, le=1_000, description="jobs of a tenant that have not ended, else 429")
    jobs_max_bytes: int = Field(128 * 1024 * 1024, ge=1024, description="size of what a tenant's jobs keep")
    warm: Warmings = Field({}, description="what is warmed by schedule, each by its name (docs/reports.md)")
    warm_schedule: Cron = Field("30 2 * * *", description="when: cron's five fields; a warming may have its own")
    warm_timezone: Zone = Field("UTC", description="time zone of these schedules, such as Europe/London")

    # The cache
    redis_url: RedisUrl = Field(
        SecretStr("memory://"),
        description="memory://, or redis[s]://, redis[s]+sentinel://h1,h2/service, redis[s]+cluster://h1,h2; "
        "passwords are never shown",
    )
    redis_sentinel_password: SecretStr = Field(SecretStr(""), description="the sentinels' own password, if any")
    redis_prefix: str = Field("sgw", pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="begins every Redis key")
    redis_timeout: Seconds = Field(1.0, description="time that a Redis command may take, connecting included")
    redis_connections: int = Field(50, ge=4, le=10_000, description="Redis connections per worker")
    memory_max_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, description="size of memory://")
    near_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="size of the near cache, per worker; coded bodies may take a quarter of it besides",
    )
    prepared_max_bytes: int = Field(
        32 * 1024 * 1024,
        ge=0,
        description="size of the rendered answers to near hits, for the same request again, per worker; 0: none",
    )
    fast_lane: bool = Field(
        True, description="answer repeated requests at the connection, before the app (the fast path)"
    )
    ignored_parameters: Words = Field(("_",), description="query parameters that do not change an answer")
    totals_scope: Literal["credential", "public"] = Field(
        "credential",
        description="public: totals and overviews are asked for without a credential, once for all; where the "
        "service refuses an institution's, with the caller's own for a day",
    )

    derive: Derive = Field("shadow", description="answers that follow from others: off, shadow (compared), or on")
    derive_family: DeriveByFamily = Field({}, description="derive by family")
    derive_tenant: dict[str, Derive] = Field({}, description="derive by tenant, which counts before the family")
    public_totals_from_rankings: bool = Field(False, description="derive totals asked without a credential, too")

    # Lifetimes
    lifetime_closed: Seconds = Field(7 * 86_400.0, description="answers for a closed window")
    lifetime_open: Seconds = Field(900.0, description="answers for an open window")
    lifetime_totals: Seconds = Field(600.0, description="totals, and tops without a closed window")
    lifetime_empty: Seconds = Field(300.0, description="empty answers")
    lifetime_error: Seconds = Field(600.0, description="the service's 400 and 404")
    lifetime_forbidden: Seconds = Field(10.0, description="the service's 403")
    lifetime_unknown: SecondsOrNone = Field(
        60.0, description="JSON answers of unknown endpoints without a lifetime of their own; 0: not kept"
    )
    lifetime_jitter: float = Field(0.1, ge=0, le=0.5, description="random share added to or taken off")
    stale_if_error: SecondsOrNone = Field(
        7 * 86_400.0, description="how long a stale answer is served instead of an error; 0: not at all"
    )
    stale_while_revalidate_family: SecondsByFamily = Field(
        {},
        description="by family, how long a stale answer is served while it is refreshed; else one more lifetime "
        "(unknown: not at all)",
    )
    stale_if_error_family: SecondsByFamily = Field({}, description="stale_if_error by family")
    refresh_floor: float = Field(60.0, ge=0, description="youngest age at which a client may ask for fresher data")

    content_codings: Codings = Field(("zstd", "gzip"), description="codings offered to clients, best first")

    # Tenants and callers
    registry: RegistryPlace = Field(
        SecretStr("tenants.toml"), description="where the tenants are: a TOML file, or a Redis URL"
    )
    registry_doubt: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="time that a registry must stay unchanged before the loss of most of its tenants counts",
    )
    encryption_keys: SecretStr = Field(
        SecretStr(""), description="keys that encrypt credentials, newest first, comma-separated"
    )
    allow_anonymous: bool = Field(False, description="answer public queries without a key")
    anonymous_requests_per_second: float = Field(
        10.0, ge=0, le=1e6, description="requests of one address without a key (IPv6: one /64); 0: no limit"
    )
    anonymous_burst: int = Field(50, ge=1, le=1_000_000, description="of those, how many may come at once")
    anonymous_requests_per_day: int = Field(0, ge=0, description="of those, how many in a day; 0: no limit")
    anonymous_queued: int = Field(50, ge=1, description="calls that may wait for all callers without a key")
    anonymous_share: float = Field(1.0, ge=0.01, le=100, description="their weight in the upstream budget")
    invalid_keys_per_minute: int = Field(
        30, ge=0, le=60_000, description="invalid keys that one address may send, then 429; 0: no limit"
    )
    trusted_proxies: Networks = Field((), description="addresses or networks whose X-Forwarded-For is believed")

    # Administration
    admin_token: SecretStr = Field(SecretStr(""), description="Bearer token of the admin API; may do everything")
    admin_tokens: dict[str, AdminToken] = Field(
        {}, description="named tokens: each a digest, sha256:… of the token, and a role, read-only or read-write"
    )
    metrics_public: bool = Field(
        False, description="whether /metrics names tenants to those who show no admin token, where there is one"
    )
    admin_hosts: Words = Field(
        (), description="names under which the admin listener is reached, besides localhost"
    )
    session_idle: Seconds = Field(1_800.0, description="time after which an unused session of the console ends")
    session_secure: bool = Field(
        False, description="mark the console's cookie Secure even where no trusted proxy says https"
    )
    allow_unknown_settings: bool = Field(
        False,
        description="start although a variable STATS_GATEWAY_… or a line of the settings file names no setting",
    )
    usage_days: int = Field(400, ge=1, le=3_660, description="days for which usage is kept")

    # Logs and traces
    log_hits: Fraction = Field(
        0.01, description="share of plain hits with a line in the log; below 1 at most ten a second"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level logged")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto: pretty on a terminal")
    otlp_endpoint: Endpoint = Field(
        "", description="URL to which spans are sent (OTLP over HTTP, …/v1/traces); needs stats-gateway[otel]"
    )
    trace_sample: float = Field(1.0, ge=0, le=1, description="share of traces begun here that are recorded")
    trace_upstream: bool = Field(False, description="whether upstream calls carry traceparent")

    @field_validator("*")
    @classmethod
    def _visible(cls, value: Any, info: ValidationInfo) -> Any:
        """An invisible character would match nothing, unnoticed."""
        shown = texts(value)
        if info.field_name == "encryption_keys":
            shown = (word for text in shown for word in text.split())
        if not all(text.isprintable() for text in shown):
            raise ValueError("holds a line's end, or another character that cannot be seen")
        return value

    @model_validator(mode="before")
    @classmethod
    def _stripped_and_by_profile(cls, values: Any) -> Any:
        """Strip white space around values, and apply the defaults of the generic profile, which paces, invents and
        withholds nothing unless asked to."""
        values = stripped(values)
        if isinstance(values, dict) and values.get("profile") == "generic":
            return GENERIC | values
        return values

    @model_validator(mode="after")
    def _memory_is_one_process(self) -> Settings:
        if self.redis_url.get_secret_value() == "memory://" and self.workers > 1:
            raise ValueError("memory:// cannot be shared by several workers; set STATS_GATEWAY_REDIS_URL")
        return self

    @property
    def public_base(self) -> str:
        """The public listener's base URL for clients, without a slash at its end, as far as the settings say."""
        if self.public_url:
            return self.public_url
        host = "localhost" if self.host in ("", "0.0.0.0", "::") else self.host  # noqa: S104 (not bound here)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def budget_interval(self) -> float | None:
        """Seconds between two upstream calls of the fleet, or None when unlimited."""
        return interval(self.budget)

    @property
    def registry_file(self) -> Path | None:
        """The registry's file; None where it is in Redis."""
        place = self.registry.get_secret_value()
        return None if "://" in place else Path(place)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then file; of the last two only settings."""
        others = {name.lower() for name in made_of_services(os.environ)}
        if isinstance(env_settings, EnvSettingsSource):
            found = env_settings.env_vars
            env_settings.env_vars = {name: found[name] for name in found if name.lower() not in others}
        return init_settings, env_settings, KnownInFile(settings_cls, toml_file=settings_file())


class KnownInFile(TomlConfigSettingsSource):
    """The settings file without unknown names, which ``load_settings`` reports."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return read_toml(file_path)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name in Settings.model_fields}


def settings_file() -> Path | None:
    """The settings file that the environment names, if any."""
    return Path(named) if (named := os.environ.get(PREFIX + "CONFIG", "").strip()) else None


def load_settings(config: Path | None = None, *, strict: bool = False, **flags: Any) -> Settings:
    """The effective settings; ``flags`` that are None count as not given. Where it is ``strict``, environment
    variables with our prefix must name settings, unless ``allow_unknown_settings``.

    Raises UnusableSettings with every problem and its place, never with a secret's value.
    """
    path = config or settings_file()
    if path is not None:
        if not path.is_file():
            raise UnusableSettings([f"no settings file at {path}"])
        os.environ[PREFIX + "CONFIG"] = str(path)
    settings, problems = _settings({name: value for name, value in flags.items() if value is not None}, path)
    if settings is None or not settings.allow_unknown_settings:
        problems += file_warnings(path)
        problems += variable_warnings() if strict else []
    if settings is None or problems:
        raise UnusableSettings(problems)
    return settings


def variable_warnings() -> list[str]:
    """Describe the environment variables with our prefix that name no setting."""
    names = Settings.model_fields
    return [describe_unknown(each, names) for each in unknown_variables(os.environ, names)]


def file_warnings(path: Path | None) -> list[str]:
    """Describe the lines of a valid settings file that name no setting."""
    names = {} if path is None else read_toml(path)
    return [
        f"unknown setting {name!r} in {path}{meant(name, Settings.model_fields)}"
        for name in names
        if name not in Settings.model_fields
    ]


def _settings(flags: dict[str, Any], path: Path | None) -> tuple[Settings | None, list[str]]:
    """The settings, or a problem for each. Raises UnusableSettings for a file that cannot be read."""
    try:
        return Settings(**flags), []
    except ValidationError as error:
        return None, [complaint(each) for each in error.errors()]
    except SettingsError as error:
        named = re.search(r'field "(\w+)"', str(error))
        name = named[1] if named else "settings"
        return None, [f"{name} ({PREFIX}{name.upper()}): must be JSON"]
    except (ValueError, OSError) as error:
        raise UnusableSettings([f"settings file {path}: {error}"]) from None
