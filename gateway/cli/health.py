"""``stats-gateway health``: whether a gateway is ready, as an exit code."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import httpx2 as httpx
import typer

from gateway.cli.admin import said
from gateway.cli.options import examples
from gateway.errors import ConfigurationError
from gateway.redis_url import masked_url
from gateway.settings import load_settings
from gateway.upstream.network import context_for

READY = "/-/health/ready"
EXAMPLES = examples("stats-gateway health", "stats-gateway health --url http://gateway.example:8080 --strict")


def health(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Base URL of the public listener; without it, the one that the settings here describe.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="Seconds to wait for the answer.")
    ] = 3.0,
    strict: Annotated[bool, typer.Option("--strict", help="Nor where it is degraded.")] = False,
) -> None:
    """Ask a gateway whether it is ready, for an exit code.

    It is 0 when the gateway is ready, and 1 when it is not, whatever the reason. This is what a container's health
    check runs. A gateway that has to do without Redis, or cannot follow its registry, is degraded and ready; one
    that starts or drains is not.
    """
    try:
        status = _status((url or _own_url()).rstrip("/"), timeout)
        if strict and status != "ok":
            raise NotReady(f"the gateway is {status}")
    except (ConfigurationError, NotReady) as error:
        # Not 2, as other mistakes have: a container's health check may end with 0 or 1 alone.
        print(f"stats-gateway: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(status)


class NotReady(Exception):
    """Why a gateway does not count as ready."""


def _own_url() -> str:
    """Where a gateway with these settings is reached from its own machine."""
    settings = load_settings()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _status(url: str, timeout: float) -> str:
    """The status that a gateway tells. Raises NotReady."""
    if not url.startswith(("http://", "https://")):
        raise NotReady("--url must begin with http:// or https://")
    place = masked_url(url)
    try:
        answer = httpx.get(url + READY, timeout=timeout, trust_env=False, verify=context_for(url))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotReady(f"no gateway answers at {place}: {said(error)}") from None
    status = _told(answer)
    if status is None:
        raise NotReady(f"{place} answers {answer.status_code}, but not as a gateway does")
    if answer.status_code != 200:
        raise NotReady(f"the gateway at {place} is {status}")
    return status


def _told(answer: httpx.Response) -> str | None:
    try:
        told: Any = answer.json()
    except ValueError:
        return None
    status = told.get("status") if isinstance(told, dict) else None
    return status if isinstance(status, str) and status.isalpha() else None
