"""What the commands share that ask a running gateway's admin API."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Annotated, Any

import httpx2 as httpx
import typer

from gateway.errors import AdminRefused, AdminUnreachable, ConfigurationError, NoSuchRecord
from gateway.redis_url import masked_url
from gateway.settings import PREFIX
from gateway.upstream.network import context_for

SECONDS = 30.0
AdminUrl = Annotated[
    str,
    typer.Option(
        "--admin-url",
        metavar="URL",
        envvar=f"{PREFIX}ADMIN_URL",
        help="The admin listener of a running gateway.",
        rich_help_panel="Where",
    ),
]
DEFAULT_URL = "http://127.0.0.1:8081"


def ask(
    url: str,
    method: str,
    path: str,
    *,
    query: dict[str, str | None] | None = None,
    body: Any = None,
    seconds: float = SECONDS,
    client: httpx.Client | None = None,
) -> Any:
    """What the admin API answers. The token comes from STATS_GATEWAY_ADMIN_TOKEN: a command line is visible.

    ``client`` is for those who ask again and again, in place of one that waits ``seconds``.

    Raises NoSuchRecord, AdminRefused and AdminUnreachable.
    """
    url = url.strip()
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--admin-url must begin with http:// or https://, not {url.partition(':')[0]!r}")
    given = {name: value for name, value in (query or {}).items() if value is not None}
    headers = {"Authorization": f"Bearer {token}"} if (token := _token()) else {}
    try:
        with nullcontext(client) if client else client_for(url, seconds) as asked:
            answer = asked.request(method, url.rstrip("/") + path, params=given, json=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise AdminUnreachable(
            f"no gateway answers at {masked_url(url)}: {said(error)}; see --admin-url"
        ) from None
    if answer.is_success:
        return _content(answer, url)
    raise _refusal(answer, url)


def client_for(url: str, seconds: float) -> httpx.Client:
    """A client that waits so long: no proxies, but the authorities that the environment names."""
    return httpx.Client(timeout=seconds, trust_env=False, verify=context_for(url))


def _token() -> str:
    """Raises ConfigurationError, which does not repeat it, for one that no header could carry."""
    token = os.environ.get(f"{PREFIX}ADMIN_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise ConfigurationError(f"{PREFIX}ADMIN_TOKEN holds characters that no header can carry")
    return token


def _content(answer: httpx.Response, url: str) -> Any:
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise _stranger(answer, url) from None


def _stranger(answer: httpx.Response, url: str) -> AdminUnreachable:
    place = masked_url(url)
    return AdminUnreachable(f"{place} answers {answer.status_code}, but not as a gateway's admin listener does")


def said(error: Exception) -> str:
    """Of an error about the URL only its kind: its text would repeat what was typed."""
    return type(error).__name__ if isinstance(error, httpx.InvalidURL) else str(error) or type(error).__name__


def _refusal(answer: httpx.Response, url: str) -> ConfigurationError:
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return _stranger(answer, url)
    if answer.status_code == 401:
        message += "; set STATS_GATEWAY_ADMIN_TOKEN"
    return NoSuchRecord(message) if answer.status_code == 404 else AdminRefused(message)
