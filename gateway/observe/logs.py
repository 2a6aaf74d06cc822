"""Logs: one structured line an event; JSON in production, readable on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

from gateway.observe.lines import Lined, rendering

AUDIT = "gateway.audit"
"""The logger of what administrators change: told at any level."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logs(level: str, form: Literal["auto", "json", "pretty"]) -> None:
    """Sends structlog's and the standard library's events to stderr in one format."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    )
    last: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, rendering(renderer)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(LEVELS[level])
    # The libraries below log each request's URL, and the upstream's headers at debug.
    for name in ("httpx2", "httpcore2", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, *last],
        logger_factory=Lined(sys.stderr, LEVELS[level], AUDIT),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
