"""Logs: one structured line an event; JSON in production, readable on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor

from gateway.observe.stream import Kind, stream_of

AUDIT = "gateway.audit"
"""The logger of what administrators change: told at any level."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
TALKATIVE = ("httpx2", "httpcore2", "uvicorn.access", "asyncio")
"""Libraries that log each request's URL, and the upstream's headers at debug."""

log = structlog.get_logger("gateway")


class Lines:
    """A logger of whole lines, without a record of the standard library's for each. Its level is that of the
    root logger; an ``audit`` logger is never less than informative. A line that cannot be written is lost."""

    disabled = False

    def __init__(self, name: str = "") -> None:
        self._audit = name == AUDIT
        self._write = _writer("audit" if self._audit else "log")

    def getEffectiveLevel(self) -> int:  # noqa: N802 (as structlog asks)
        """The level from which on lines are written."""
        level = logging.getLogger().level
        return min(level, logging.INFO) if self._audit else level

    def write(self, line: str) -> None:
        """Writes one, whole: other threads write too."""
        with suppress(Exception):  # to say something is never worth a request
            self._write(line + "\n")

    debug = info = warning = error = exception = critical = write


def configure_logs(level: str, form: Literal["auto", "json", "pretty"]) -> None:
    """Sends structlog's and the standard library's events to ``sys.stderr`` in one format."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    last: list[Processor] = [structlog.processors.format_exc_info, rendering(renderer)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.getLogger().handlers = [handler]
    set_level(level)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, *last],
        logger_factory=Lines,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    stream = stream_of(sys.stderr)
    if stream is not None:
        stream.on_gap = _tell_gap


def set_level(level: str) -> None:
    """From now on events below this level are not logged."""
    logging.getLogger().setLevel(LEVELS[level])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))


def rendering(renderer: Processor) -> Processor:
    """The same, for whatever cannot be rendered too: that is told as Python shows it."""

    def render(logger: object, name: str, event: EventDict) -> str | bytes:
        try:
            return renderer(logger, name, event)  # type: ignore[return-value]
        except Exception:
            return renderer(logger, name, {"event": "unrenderable", "shown": repr(event)})  # type: ignore[return-value]

    return render


def _writer(kind: Kind) -> Callable[[str], object]:
    file, stream = sys.stderr, stream_of(sys.stderr)
    if stream is not None:
        return lambda line: stream.write(line.encode(errors="backslashreplace"), kind)
    return lambda line: (file.write(line), file.flush())


def _tell_gap(dropped: dict[Kind, int]) -> None:
    log.error("log_lines_dropped", lines=sum(dropped.values()), audit_lines=dropped["audit"])
