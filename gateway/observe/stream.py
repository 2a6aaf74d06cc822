"""Standard output and error that never block: what is written waits in a bounded buffer for a thread."""

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

Kind = Literal["log", "audit"]
BUFFER_BYTES: dict[Kind, int] = {"log": 1024 * 1024, "audit": 1280 * 1024}
"""How full the buffer may be for a line of each kind: audit lines have the last part for themselves."""
WRITE_BYTES = select.PIPE_BUF
"""Bytes that are written at once: of several processes that share a pipe, none cuts another's line in two."""
ITEM_BYTES = 128
"""What a waiting piece takes beside its bytes."""
GATHER_SECONDS = 0.01
"""Between two writes, when nothing waits: to wake the thread for each line would cost more than the line."""
MOST_PIECES = 100
"""Pieces that are taken from the buffer at once."""
END_SECONDS = 1.0
"""How long the end of the process waits for the buffer to be written."""


class Piece(NamedTuple):
    """What one call of ``write`` brought."""

    data: bytes
    kind: Kind

    @property
    def lines(self) -> int:
        """How many lines end in it."""
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
        self.dropped: dict[Kind, int] = dict.fromkeys(BUFFER_BYTES, 0)
        self.on_gap: Callable[[dict[Kind, int]], None] = lambda dropped: None
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # a child has none of its parent's threads
        atexit.register(self.settle)

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a finalizer may write while its own thread is in here
        self._idle = threading.Condition(self._lock)
        self._pieces: SimpleQueue[Piece] = SimpleQueue()
        self._held = 0
        self._told = dict(self.dropped)
        self._cut = False  # whether the last line written has no end
        self._thread: threading.Thread | None = None

    def write(self, data: Any, kind: Kind = "log") -> int:
        """Takes it, or drops it."""
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
        """Waits until everything is written; False when it took too long."""
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
        """Some of what waits; waits for something."""
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
        if written == len(data) and self.dropped != self._told:
            self._tell()

    def _tell(self) -> None:
        gap = {kind: count - self._told[kind] for kind, count in self.dropped.items()}
        self._told = {kind: self._told[kind] + count for kind, count in gap.items()}
        with suppress(Exception):
            self.on_gap(gap)


def packed(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """As many pieces as one write takes; one that is longer goes alone."""
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
    """Writes, and waits as long as it takes; how many bytes were written before an error, if there was one."""
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
    """From now on neither standard output nor standard error blocks or fails whoever in this process writes to
    ``sys.stdout`` and ``sys.stderr``, or logs to them by a handler that has them already, as a server has that
    set up its log first. One that is closed is replaced, so that no socket gets its number."""
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
    """The handlers of all loggers that write to this stream. A file's has none of its own until it is opened."""
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


def dropped_lines() -> dict[Kind, int]:
    """The lines of each kind that this process's standard error has not taken since it was diverted."""
    stream = stream_of(sys.stderr)
    return {} if stream is None else stream.dropped


def settle() -> None:
    """Waits a moment until all that was written to the diverted streams has left the process."""
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
