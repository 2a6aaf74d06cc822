"""Reload: the settings are read once more, and what can change in a running gateway takes effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gateway.errors import ConfigurationError
from gateway.observe.logs import set_level
from gateway.settings import Settings

Read = Callable[[], Settings]
LIVE = frozenset({"log_level"})
"""The settings that take effect at once; all others at the next start."""

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Reload:
    """What a process is told to take up. It looks at the registry as well."""

    log_level: str


class Reloading:
    """The settings of a running gateway, and how they are read again. ``settings`` are those it started with."""

    def __init__(self, settings: Settings, read: Read) -> None:
        self._settings = settings
        self._read = read
        self.now = Reload(settings.log_level)

    async def again(self) -> Reload:
        """Reads them, off the event loop, and logs what came of it. What cannot be used changes nothing."""
        try:
            settings = await asyncio.to_thread(self._read)
        except ConfigurationError as error:
            log.error("reload_failed", reason=error.message, consequence="the settings in force stay")
            return self.now
        self.now = Reload(settings.log_level)
        set_level(settings.log_level)
        waiting = [name for name in self._changed(settings) if name not in LIVE]
        (log.warning if waiting else log.info)("reloaded", log_level=settings.log_level, needs_restart=waiting)
        return self.now

    def _changed(self, settings: Settings) -> list[str]:
        return [name for name in Settings.model_fields if getattr(settings, name) != getattr(self._settings, name)]
