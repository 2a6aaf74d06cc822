"""What the commands share that ask a running gateway's admin API."""

from __future__ import annotations

import os
from typing import Annotated, Any

import httpx2 as httpx
import typer

from gateway.errors import AdminRefused, AdminUnreachable, ConfigurationError, NoSuchRecord
from gateway.settings import PREFIX

SECONDS = 30.0
AdminUrl = Annotated[
    str,
    typer.Option("--admin-url", envvar=f"{PREFIX}ADMIN_URL", help="The admin listener of a running gateway."),
]
DEFAULT_URL = "http://127.0.0.1:8081"


def ask(url: str, method: str, path: str, *, query: dict[str, str | None] | None = None, body: Any = None) -> Any:
    """What the admin API answers. The token comes from STATS_GATEWAY_ADMIN_TOKEN: a command line is visible.

    Raises NoSuchRecord, AdminRefused and AdminUnreachable.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--admin-url must begin with http:// or https://, not {url.partition(':')[0]!r}")
    given = {name: value for name, value in (query or {}).items() if value is not None}
    token = os.environ.get(f"{PREFIX}ADMIN_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.request(
            method,
            url.rstrip("/") + path,
            params=given,
            json=body,
            headers=headers,
            timeout=SECONDS,
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise AdminUnreachable(f"no gateway answers at {url}: {error}; see --admin-url") from None
    if answer.is_success:
        return answer.json() if answer.content else None
    raise _refusal(answer, url)


def _refusal(answer: httpx.Response, url: str) -> ConfigurationError:
    try:
        message = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return AdminUnreachable(f"{url} answers {answer.status_code}, but not as a gateway's admin listener does")
    if answer.status_code == 401:
        message += "; set STATS_GATEWAY_ADMIN_TOKEN"
    return NoSuchRecord(message) if answer.status_code == 404 else AdminRefused(message)
