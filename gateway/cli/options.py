"""What the commands share: the layout of help, common options, completion, the registry and the admin API."""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx2 as httpx
import msgspec
import typer
from rich.markup import escape
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from gateway.errors import AdminRefused, AdminUnreachable, ConfigurationError, NoSuchRecord
from gateway.redis_url import masked_url
from gateway.setting_values import PREFIX
from gateway.settings import Settings, load_settings
from gateway.tenants import registry as registries
from gateway.tenants.file_store import FileStore
from gateway.tenants.registry import Registry
from gateway.tenants.schema import TenantTable, check_no_key
from gateway.upstream.network import context_for

Function = TypeVar("Function", bound=Callable[..., Any])
Completion = Callable[[typer.Context, str], list[tuple[str, str]]]

PANELS: Mapping[str, tuple[str, ...]] = {
    "Serving": ("serve", "demo", "sandbox"),
    "Asking": ("report", "batch", "warm"),
    "Tenants and keys": ("tenant", "key", "secrets"),
    "Operating": ("doctor", "health", "config", "purge", "gate", "breaker"),
    "Looking": ("top", "usage", "explain", "explore", "queue", "settings"),
}
"""The commands in the order in which the help shows them; those of no panel come first."""
LISTENING, SERVICE, CALLERS, WHERE = "Listening", "The service", "Who may ask", "Where"
ADMIN_SECONDS = 30.0
COMPLETED_BYTES = 4 * 1024 * 1024
"""A larger registry file takes longer to read than anybody wants to wait at a prompt."""
DESCRIPTION = re.compile(r"[\w .,/-]*")
"""What the description of a completion may hold: zsh evaluates more of it than it should."""


# The framework: typer, with help that reads well at 80 columns


class Command(TyperCommand):
    """A command whose docstring may be laid out as the source wants it."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, **attributes | {"help": reflowed(attributes.get("help") or "")})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's; an error always knows which command was meant."""
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            error.ctx = getattr(error, "ctx", None) or ctx  # type: ignore[attr-defined]
            raise

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    def __init__(self, *, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name=name, **attributes | {"help": reflowed(attributes.get("help") or "")})

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class MainGroup(Group):
    """The program itself, with its commands in ``PANELS``."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        order = [name for names in PANELS.values() for name in names]
        self.commands = dict(sorted(self.commands.items(), key=lambda each: _place(order, each[0])))
        for panel, names in PANELS.items():
            for command in (self.commands[name] for name in names if name in self.commands):
                command.rich_help_panel = panel  # type: ignore[attr-defined]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's. Raises ConfigurationError for a key among what was typed, before anything repeats it: the
        command line is visible to every user of the machine, and no command takes a key there."""
        for text in args:
            check_no_key(text, "an argument")
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """A typer app whose commands may take dataclasses; without a command it shows its help."""

    def __init__(self, *, cls: type[TyperGroup] = Group, **attributes: Any) -> None:
        super().__init__(cls=cls, no_args_is_help=True, **attributes)

    def command(self, *args: Any, **attributes: Any) -> Callable[[Function], Function]:
        """As typer's. A parameter that is a dataclass stands for an option for each of its fields."""
        register = super().command(*args, **{"cls": Command} | attributes)

        def add(function: Function) -> Function:
            register(_with_fields_as_options(function))
            return function

        return add


def _with_fields_as_options(function: Callable[..., Any]) -> Callable[..., Any]:
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind: Any = parameter.annotation
        if hasattr(kind, "__dataclass_fields__"):
            groups[parameter.name] = kind
            parameters += inspect.signature(kind, eval_str=True).parameters.values()
        else:
            parameters.append(parameter)

    @wraps(function)
    def command(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def examples(*lines: str, title: str = "Examples") -> str:
    """The text below a command's help: lines to type, word for word."""
    # typer takes away what all lines but the first are indented by; the first is therefore empty
    return escape("\n".join(["", f"{title}:", *(f"  {line}" for line in lines)]))


def reflowed(text: str) -> str:
    """A docstring's paragraphs, each on one line, so that the terminal breaks them; of code only the words."""
    paragraphs = inspect.cleandoc(text).replace("``", "").split("\n\n")
    return escape("\n\n".join(re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in paragraphs))


def _without_types(params: list[Any]) -> list[Any]:
    """The parameters, without the types that say nothing new: a flag's, and an argument's."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag and param.metavar is None:
            param.metavar = ""
        if isinstance(param, TyperArgument) and param.metavar is not None:
            param.display_type_rich = lambda ctx: ""  # type: ignore[method-assign]
    return params


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else -1


# Completion: nothing here may fail, print or wait, since a shell is waiting. A registry in Redis is not asked.


def tenant_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The ids of the tenants, with their names."""
    return [(id, _described(table.name)) for id, table in _tables(ctx) if id.startswith(incomplete)]


def key_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The ids of the keys that are not revoked, with their tenants and labels."""
    return [
        (key_id, _described(f"{tenant_id} {key.label}".strip()))
        for tenant_id, table in _tables(ctx)
        for key_id, key in table.keys.items()
        if key.revoked is None and key_id.startswith(incomplete)
    ]


def institutions(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The institutions that any tenant has a credential for."""
    found = sorted({institution for _, table in _tables(ctx) for institution in table.institutions})
    return [(institution, "") for institution in found if institution.startswith(incomplete)]


def _tables(ctx: typer.Context) -> list[tuple[str, TenantTable]]:
    try:
        path = load_settings(registry=ctx.params.get("registry")).registry_file
        small = path is not None and path.is_file() and path.stat().st_size <= COMPLETED_BYTES
        return list(FileStore(path).read().items()) if path is not None and small else []
    except Exception:
        return []


def _described(text: str) -> str:
    return text if DESCRIPTION.fullmatch(text) else ""


# Options that several commands take


def option(
    name: str, metavar: str, text: str, panel: str | None = None, *, complete: Completion | None = None
) -> Any:
    """An option with a value, of which ``metavar`` is the name in the help."""
    return typer.Option(name, metavar=metavar, help=text, rich_help_panel=panel, autocompletion=complete)


def flag(name: str, text: str, panel: str | None = None) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, show_default=False)


AsJson = Annotated[bool, flag("--json", "Print JSON, for programs.")]
Config = Annotated[Path | None, option("--config", "FILE", "TOML file with settings.")]
RegistryPlace = Annotated[
    str | None,
    option("--registry", "PLACE", "The registry, instead of the settings' one: a file, or a Redis URL.", WHERE),
]
AdminUrl = Annotated[
    str,
    typer.Option(
        "--admin-url",
        metavar="URL",
        envvar=f"{PREFIX}ADMIN_URL",
        help="The admin listener of a running gateway.",
        rich_help_panel=WHERE,
    ),
]
DEFAULT_URL = "http://127.0.0.1:8081"


@dataclass(frozen=True, slots=True)
class SettingOptions:
    """The settings that a command line may give; those of a secret are none of them."""

    config: Config = None
    host: Annotated[str | None, option("--host", "ADDRESS", "Address of the public listener.", LISTENING)] = None
    port: Annotated[int | None, option("--port", "PORT", "Its port; 0 takes a free one.", LISTENING)] = None
    admin_host: Annotated[
        str | None, option("--admin-host", "ADDRESS", "Address of the admin listener.", LISTENING)
    ] = None
    admin_port: Annotated[
        int | None, option("--admin-port", "PORT", "Its port; 0 takes a free one.", LISTENING)
    ] = None
    workers: Annotated[
        int | None, option("--workers", "N", "Worker processes; more than one needs Redis.", LISTENING)
    ] = None
    drain_seconds: Annotated[
        float | None, option("--drain-seconds", "SECONDS", "Time between SIGTERM and closing.", LISTENING)
    ] = None
    upstream: Annotated[
        str | None, option("--upstream", "URL", "Base URL of the statistics service.", SERVICE)
    ] = None
    budget: Annotated[
        str | None,
        option("--budget", "RATE", "Upstream rate limit of the fleet: N/s, N/m, N/h or unlimited.", SERVICE),
    ] = None
    budget_burst: Annotated[
        int | None, option("--budget-burst", "N", "Upstream calls that may follow at once.", SERVICE)
    ] = None
    registry: Annotated[
        str | None,
        option("--registry", "PLACE", "The registry: a file, or a Redis URL without password.", CALLERS),
    ] = None
    allow_anonymous: Annotated[
        bool | None,
        flag("--allow-anonymous/--no-allow-anonymous", "Answer public queries without a key.", CALLERS),
    ] = None
    allow_unknown_settings: Annotated[
        bool | None,
        flag(
            "--allow-unknown-settings",
            "Start although a variable STATS_GATEWAY_… or a line of the file names no setting.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """The settings given, by name. Raises ConfigurationError for a registry's URL with a password."""
        check_no_password(self.registry)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value for name, value in values.items() if name in Settings.model_fields and value is not None
        }

    def settings(self, *, strict: bool = False) -> Settings:
        """The effective settings, as ``load_settings`` gives them."""
        return load_settings(self.config, strict=strict, **self.given())


# Output


def note(text: str) -> None:
    """Prints a line for the person at the terminal, on stderr; stdout stays for what was asked for."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Prints a value for programs, with dates as in RFC 3339."""
    print(json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2, ensure_ascii=False))


# The registry


def open_registry(place: str | None) -> Registry:
    """The registry that the settings name, or the one at ``place``; what is amiss with its keys goes to stderr."""
    check_no_password(place)
    settings = load_settings(registry=place)
    if complaint := registries.keyring_of(settings).complaint():
        note(f"warning: {complaint}")
    return registries.open_registry(settings)


def check_no_password(place: str | None) -> None:
    """Raises ConfigurationError where a registry's place, as an option gives it, holds a password."""
    if place is not None and "://" in place and "@" in place:
        raise ConfigurationError(
            "a command line is visible to every user of the machine: "
            "put a registry's URL that holds a password into STATS_GATEWAY_REGISTRY"
        )


def tenant_in(registry: Registry, tenant_id: str) -> TenantTable:
    """A tenant's table. Raises NoSuchRecord where there is none."""
    found = registry.store.get(tenant_id)
    if found is None:
        raise NoSuchRecord(f"there is no tenant {tenant_id!r}; see: stats-gateway tenant list")
    return found


# The admin API of a running gateway


def ask_admin(
    url: str,
    method: str,
    path: str,
    *,
    query: dict[str, str | None] | None = None,
    body: Any = None,
    seconds: float = ADMIN_SECONDS,
    client: httpx.Client | None = None,
) -> Any:
    """The admin API's answer. The token comes from STATS_GATEWAY_ADMIN_TOKEN: a command line is visible.

    ``client`` is for those who ask again and again, in place of one that waits ``seconds``.

    Raises NoSuchRecord, AdminRefused and AdminUnreachable.
    """
    url = url.strip()
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--admin-url must begin with http:// or https://, not {url.partition(':')[0]!r}")
    query = {name: value for name, value in (query or {}).items() if value is not None}
    headers = {"Authorization": f"Bearer {token}"} if (token := _admin_token()) else {}
    try:
        with nullcontext(client) if client else admin_client(url, seconds) as used:
            response = used.request(method, url.rstrip("/") + path, params=query, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = describe_error(error)
        raise AdminUnreachable(f"no gateway answers at {masked_url(url)}: {reason}; see --admin-url") from None
    if not response.is_success:
        raise _refusal(response, url, bool(token))
    try:
        return response.json() if response.content else None
    except ValueError:
        raise _not_a_gateway(response, url) from None


def admin_client(url: str, seconds: float) -> httpx.Client:
    """A client with this timeout, without proxies, that trusts the authorities which the environment names."""
    return httpx.Client(timeout=seconds, trust_env=False, verify=context_for(url))


def describe_error(error: Exception) -> str:
    """An error's text; of one about the URL only its kind, since its text would repeat what was typed."""
    return type(error).__name__ if isinstance(error, httpx.InvalidURL) else str(error) or type(error).__name__


def _admin_token() -> str:
    """Raises ConfigurationError, which does not repeat it, for one that no header could carry."""
    token = os.environ.get(f"{PREFIX}ADMIN_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise ConfigurationError(f"{PREFIX}ADMIN_TOKEN holds characters that no header can carry")
    return token


def _refusal(response: httpx.Response, url: str, had_token: bool) -> ConfigurationError:
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return _not_a_gateway(response, url)
    if response.status_code == 401:
        variable = f"{PREFIX}ADMIN_TOKEN"
        message += f"; {variable} holds another token" if had_token else f"; set {variable}"
    return NoSuchRecord(message) if response.status_code == 404 else AdminRefused(message)


def _not_a_gateway(response: httpx.Response, url: str) -> AdminUnreachable:
    place = masked_url(url)
    return AdminUnreachable(f"{place} answers {response.status_code}, but not as a gateway's admin listener does")
