"""Logs: one structured line an event, on a standard error that never blocks.

JSON in production, readable on a terminal. What is written waits in a bounded buffer for a thread.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

import structlog
from structlog.typing import EventDict, Processor

AUDIT = "gateway.audit"
"""The logger of what administrators change, which writes at any level."""
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
TALKATIVE = ("httpx2", "httpcore2", "uvicorn.access", "asyncio")
"""Libraries that log each request's URL, and the upstream's headers at debug."""
LineKind = Literal["log", "audit"]
BUFFER_BYTES: dict[LineKind, int] = {"log": 1024 * 1024, "audit": 1280 * 1024}
"""The fill of the buffer up to which lines of each kind are taken: the last part is for audit lines alone."""
WRITE_BYTES = select.PIPE_BUF
"""Bytes of one write: of several processes that share a pipe, none cuts another's line in two."""
ITEM_BYTES = 128
"""The memory of a waiting piece beside its bytes."""
GATHER_SECONDS = 0.01
"""Between two writes when nothing waits: to wake the thread for each line would cost more than the line."""
MOST_PIECES = 100
"""Pieces taken from the buffer at once."""
END_SECONDS = 1.0
"""The time that the end of the process waits for the buffer to be written."""

log = structlog.get_logger("gateway")


def configure_logs(level: str, form: Literal["auto", "json", "pretty"]) -> None:
    """Sends structlog's and the standard library's events to ``sys.stderr`` in one format."""
    pretty = form == "pretty" or (form == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()
    last: list[Processor] = [structlog.processors.format_exc_info, rendering_anything(renderer)]
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
        logger_factory=LineLogger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    stream = stream_of(sys.stderr)
    if stream is not None:
        stream.on_gap = _log_gap


def set_level(level: str) -> None:
    """Logs no events below this level from now on."""
    logging.getLogger().setLevel(LEVELS[level])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))


def rendering_anything(renderer: Processor) -> Processor:
    """The renderer, but an event that it cannot render is written as Python shows it."""

    def render(logger: object, name: str, event: EventDict) -> str | bytes:
        try:
            return renderer(logger, name, event)  # type: ignore[return-value]
        except Exception:
            return renderer(logger, name, {"event": "unrenderable", "shown": repr(event)})  # type: ignore[return-value]

    return render


def _writer(kind: LineKind) -> Callable[[str], object]:
    file, stream = sys.stderr, stream_of(sys.stderr)
    if stream is not None:
        return lambda line: stream.write(line.encode(errors="backslashreplace"), kind)
    return lambda line: (file.write(line), file.flush())


def _log_gap(dropped: dict[LineKind, int]) -> None:
    log.error("log_lines_dropped", lines=sum(dropped.values()), audit_lines=dropped["audit"])


class LineLogger:
    """A logger of whole lines, at the root logger's level, without a record of the standard library's for each.

    structlog's ``WriteLogger`` would not do: the level changes while the gateway runs, and audit lines have a
    level and a part of the buffer of their own. A line that cannot be written is lost.
    """

    disabled = False

    def __init__(self, name: str = "") -> None:
        self._audit = name == AUDIT
        self._write = _writer("audit" if self._audit else "log")

    def getEffectiveLevel(self) -> int:  # noqa: N802 (as structlog asks)
        """The lowest level that is written."""
        level = logging.getLogger().level
        return min(level, logging.INFO) if self._audit else level

    def write(self, line: str) -> None:
        """Writes a line in one piece, since other threads write too."""
        with suppress(Exception):  # no line of the log is worth a request
            self._write(line + "\n")

    debug = info = warning = error = exception = critical = write


class Piece(NamedTuple):
    """The data of one call of ``write``."""

    data: bytes
    kind: LineKind

    @property
    def lines(self) -> int:
        """The number of lines that end in it."""
        return self.data.count(b"\n")


class NonBlockingStream(io.RawIOBase):
    """The raw stream of a file ``descriptor``. ``write`` neither waits nor raises: what the buffer cannot hold,
    or the descriptor does not take, is dropped. ``dropped`` counts the lines of each kind.

    ``on_gap`` is called with the lines dropped since its last call, as soon as something was written again; it
    may write.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.dropped: dict[LineKind, int] = dict.fromkeys(BUFFER_BYTES, 0)
        self.on_gap: Callable[[dict[LineKind, int]], None] = lambda dropped: None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # a child has none of its parent's threads
        atexit.register(self.settle)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a finalizer may write while its own thread is in here
        self._idle = threading.Condition(self._lock)
        self._pieces: SimpleQueue[Piece] = SimpleQueue()
        self._held = 0
        self._reported = dict(self.dropped)
        self._cut = False  # whether the last line written has no end
        self._thread: threading.Thread | None = None

    def write(self, data: Any, kind: LineKind = "log") -> int:
        """Takes the data into the buffer, or drops it."""
        piece = Piece(bytes(data), kind)
        size = len(piece.data)
        with self._lock:
            if self._held + size > BUFFER_BYTES[kind]:
                self.dropped[kind] += piece.lines
            else:
                self._held += size + ITEM_BYTES
                self._pieces.put(piece)
                if self._thread is None:
                    self._start()
        return size

    def settle(self, seconds: float = END_SECONDS) -> bool:
        """Waits until everything is written; returns False after so many seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: self._held == 0, seconds)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=f"output-{self._descriptor}", daemon=True)
        with suppress(RuntimeError):  # no thread to be had: the next write tries again
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while True:
            pieces = self._waiting()
            for group in packed(pieces):
                self._write_out(group)
            with self._idle:
                self._held -= sum(len(piece.data) + ITEM_BYTES for piece in pieces)
                if self._held == 0:
                    self._idle.notify_all()
            if self._pieces.empty():
                time.sleep(GATHER_SECONDS)

    def _waiting(self) -> list[Piece]:
        """Some of the waiting pieces; waits for one."""
        pieces = [self._pieces.get()]
        while len(pieces) < MOST_PIECES and not self._pieces.empty():
            pieces.append(self._pieces.get())
        return pieces

    def _write_out(self, pieces: list[Piece]) -> None:
        begin = b"\n" * self._cut
        data = b"".join([begin, *(piece.data for piece in pieces)])
        written = write_all(self._descriptor, data)
        if written:
            self._cut = data[written - 1] != ord("\n") and written < len(data)
        end = len(begin)
        for piece in pieces:
            end += len(piece.data)
            if end > written:
                with self._lock:
                    self.dropped[piece.kind] += piece.lines
        if written == len(data) and self.dropped != self._reported:
            self._report_gap()

    def _report_gap(self) -> None:
        gap = {kind: count - self._reported[kind] for kind, count in self.dropped.items()}
        self._reported = {kind: self._reported[kind] + count for kind, count in gap.items()}
        with suppress(Exception):
            self.on_gap(gap)


def packed(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Groups of pieces that fit in one write; one that is longer goes alone."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and size + len(piece.data) > WRITE_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += len(piece.data)
    yield group


def write_all(descriptor: int, data: bytes) -> int:
    """Writes, however long that takes; returns the number of bytes written, fewer than all after an error."""
    written, rest = 0, memoryview(data)
    while written < len(data):
        try:
            written += os.write(descriptor, rest[written:])
        except BlockingIOError:  # somebody else who has this pipe or terminal open made it so
            ready = select.poll()
            ready.register(descriptor, select.POLLOUT)
            ready.poll()
        except OSError:
            break
    return written


def divert_standard_streams() -> None:
    """Replaces ``sys.stdout`` and ``sys.stderr`` by streams that neither block nor fail, also in the handlers of a
    server that set up its log first. A closed one is opened, so that no socket gets its number."""
    _fill_closed()
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if stream_of(before) is None:
            encoding = getattr(before, "encoding", None) or "utf-8"
            raw: Any = NonBlockingStream(descriptor)
            after = io.TextIOWrapper(raw, encoding, "backslashreplace", write_through=True)
            setattr(sys, name, after)
            for handler in _handlers_of(before):
                handler.setStream(after)


def _handlers_of(stream: object) -> Iterator[logging.StreamHandler[Any]]:
    """All loggers' handlers that write to this stream. A file's handler has none until the file is opened."""
    named = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    for logger in (logging.root, *named):
        for handler in logger.handlers:
            if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
                continue
            if handler.stream is stream:
                yield handler


def stream_of(file: Any) -> NonBlockingStream | None:
    """The non-blocking stream below a text file, where there is one."""
    raw = getattr(file, "buffer", None)
    return raw if isinstance(raw, NonBlockingStream) else None


def dropped_lines() -> dict[LineKind, int]:
    """The lines of each kind that standard error has dropped since it was diverted."""
    stream = stream_of(sys.stderr)
    return {} if stream is None else stream.dropped


def settle() -> None:
    """Waits a moment for the diverted streams to be written out."""
    for stream in (stream_of(sys.stdout), stream_of(sys.stderr)):
        if stream is not None:
            stream.settle()


def _fill_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)  # inherited by workers, even where it is the same number
            if null != descriptor:
                os.close(null)
            else:
                os.set_inheritable(descriptor, True)
