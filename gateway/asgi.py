"""ASGI: the public app alone, for whoever runs a server of their own.

uvicorn --factory gateway.asgi:app --no-date-header
granian --interface asgi --factory gateway.asgi:app
"""

from __future__ import annotations

from gateway.app import Gateway, create_app
from gateway.observe.logs import configure_logs
from gateway.observe.stream import divert_standard_streams
from gateway.settings import load_settings


def app() -> Gateway:
    """The app, by the settings of the environment and the settings file. Raises ConfigurationError, also for what
    looks like a setting and is none, unless STATS_GATEWAY_ALLOW_UNKNOWN_SETTINGS says otherwise."""
    settings = load_settings(strict=True)
    divert_standard_streams()
    configure_logs(settings.log_level, settings.log_format)
    return create_app(settings)
