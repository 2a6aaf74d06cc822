"""The public app alone, for any ASGI server.

uvicorn --factory gateway.asgi:app
granian --interface asgi --factory gateway.asgi:app
hypercorn 'gateway.asgi:app()'
daphne gateway.asgi:application
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gateway.app import create_app
from gateway.observe.logs import configure_logs, divert_standard_streams
from gateway.server.public import Gateway
from gateway.settings import load_settings


def app() -> Gateway:
    """The app, by the settings of the environment and the settings file. Raises ConfigurationError, also for an
    unknown setting, unless STATS_GATEWAY_ALLOW_UNKNOWN_SETTINGS allows it."""
    settings = load_settings(strict=True)
    divert_standard_streams()
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings)


@cache
def __getattr__(name: str) -> Any:
    """``application``, the app for servers that take no factory, made at its first use."""
    if name == "application":
        return app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
