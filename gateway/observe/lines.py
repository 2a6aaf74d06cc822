"""Lines: where structlog's finished lines go, without a record of the standard library's for each."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TextIO

from structlog.typing import EventDict, Processor


class Lines:
    """A logger of whole lines, from a ``level`` (as the standard library counts) up. What its stream does not take
    is lost."""

    disabled = False

    def __init__(self, stream: TextIO, level: int) -> None:
        self._stream = stream
        self._level = level

    def getEffectiveLevel(self) -> int:  # noqa: N802 (as structlog asks)
        """The level from which on lines are written."""
        return self._level

    def write(self, line: str) -> None:
        """Writes one, whole: other threads write too."""
        with suppress(Exception):  # to say something is never worth a request
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = exception = critical = write


class Lined:
    """Makes the loggers; that of the name ``always`` is never less than informative."""

    def __init__(self, stream: TextIO, level: int, always: str) -> None:
        self._stream = stream
        self._level = level
        self._always = always

    def __call__(self, name: str = "", *_: object) -> Lines:
        """The logger of a name."""
        level = min(self._level, logging.INFO) if name == self._always else self._level
        return Lines(self._stream, level)


def rendering(renderer: Processor) -> Processor:
    """The same, for whatever cannot be rendered too: that is told as Python shows it."""

    def render(logger: object, name: str, event: EventDict) -> str | bytes:
        try:
            return renderer(logger, name, event)  # type: ignore[return-value]
        except Exception:
            return renderer(logger, name, {"event": "unrenderable", "shown": repr(event)})  # type: ignore[return-value]

    return render
