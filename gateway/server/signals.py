"""Signals: what each asks of a running gateway, and how a process hears it.

Reload: the settings are read once more, and what can change in a running gateway takes effect.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from gateway.errors import ConfigurationError
from gateway.observe.logs import set_level
from gateway.settings import Settings

Wish = Literal["drain", "stop", "reload"]
WISHES: dict[signal.Signals, Wish] = {
    signal.SIGTERM: "drain",
    signal.SIGQUIT: "drain",
    signal.SIGINT: "stop",
    signal.SIGHUP: "reload",
}
"""SIGQUIT as of nginx: the graceful end; a second one, as of any that end, ends at once."""
IGNORED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)
"""Their default is to end the process; other servers reopen their logs at SIGUSR1."""

Heard = Callable[[Wish, int], None]


def prepare() -> None:
    """Nothing but what ends a process ends this one from now on; SIGHUP waits until there is a listener."""
    ignore(*IGNORED)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def ignore(*numbers: signal.Signals) -> None:
    """Leaves signals unheard, also those that have come and wait."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def listen(heard: Heard) -> None:
    """From now on, on the running event loop, calls ``heard`` with what a signal asks for, and its number.

    SIGHUP also tells that a terminal is gone (POSIX, General Terminal Interface, *Modem Disconnect*): where one of
    the standard streams was a terminal and is none any more, it asks to drain.
    """
    loop = asyncio.get_running_loop()
    terminals = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)]

    def received(number: signal.Signals) -> None:
        is_hangup = number == signal.SIGHUP and not all(map(os.isatty, terminals))
        heard("drain" if is_hangup else WISHES[number], number)

    for number in WISHES:
        loop.add_signal_handler(number, received, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WISHES)


def hurries(number: int) -> bool:
    """Whether a signal that comes while the process ends already means: at once. A terminal's end is told to a
    process once by the system and once by its shell."""
    return number != signal.SIGHUP


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
