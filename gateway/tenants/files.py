"""Small files shared by processes: atomic writes, locks, and reads with a time limit."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from gateway.errors import ConfigurationError, RegistryReadOnly, RegistryUnavailable

LIMIT = 5.0
"""Seconds that a file may take to be read."""
T = TypeVar("T")
Stamp = tuple[int, int, int]
"""What changes when a file does: modification time in nanoseconds, size in bytes, inode."""


def aside(work: Callable[[], T]) -> Future[T]:
    """Run work in a daemon thread, which does not delay the end of the process."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # so that it cannot be cancelled

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        Thread(target=run, name="registry", daemon=True).start()
    except RuntimeError as error:  # no more threads
        future.set_exception(RegistryUnavailable(f"cannot look at the registry: {error}"))
    return future


class Reader:
    """Reads files within ``limit`` seconds each, by the functions of the same names. A mount that hangs occupies
    one thread, and until that ends nothing else is tried. Raises RegistryUnavailable."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._hanging: Future[Any] | None = None

    def read(self, path: Path) -> str | None:
        return self._within(path, lambda: read(path))

    def stamp(self, path: Path) -> Stamp | None:
        return self._within(path, lambda: stamp(path))

    def open_to_others(self, path: Path) -> bool:
        return self._within(path, lambda: open_to_others(path))

    def _within(self, path: Path, work: Callable[[], T]) -> T:
        if self._hanging is None or self._hanging.done():
            self._hanging = None
            future = aside(work)
            try:
                return future.result(self._limit)
            except TimeoutError:
                self._hanging = future
        raise RegistryUnavailable(f"cannot read {path}: nothing came of it within {self._limit:g} s")


def read(path: Path) -> str | None:
    """The text of a regular file, or None where there is no file. Raises RegistryUnavailable for one that cannot
    be read, and ConfigurationError for one that is not UTF-8."""
    with _mapped("read", path, RegistryUnavailable):
        try:
            # Does not wait for the writer of a FIFO.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RegistryUnavailable(f"cannot read {path}: it is no regular file")
            with open(descriptor, encoding="utf-8", closefd=False) as file:
                return file.read()
        except UnicodeDecodeError:
            raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from None
        finally:
            os.close(descriptor)


def stamp(path: Path) -> Stamp | None:
    """A file's stamp, or None where there is no file. Raises RegistryUnavailable."""
    with _mapped("read", path, RegistryUnavailable):
        try:
            return _stamp(path.stat())
        except FileNotFoundError:
            return None


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino


def open_to_others(path: Path) -> bool:
    """Whether users other than its owner may access a file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def check_writable(path: Path) -> None:
    """Raise RegistryReadOnly for a file that is read-only, or lies in a read-only folder."""
    folder = path.resolve().parent
    marked = path.exists() and not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or (folder.is_dir() and not os.access(folder, os.W_OK)):
        raise RegistryReadOnly(
            f"{path} is read-only here; change it where it comes from (a Kubernetes Secret, a configuration "
            "management), and running gateways follow"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``<path>.lock``."""
    target = path.resolve()
    with _mapped("lock", path):
        lock = os.open(target.with_name(target.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _mapped("lock", path):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def replace(
    path: Path, text: str, like: Path | None = None, announce: Callable[[Stamp], None] = lambda _: None
) -> None:
    """Write a file atomically and durably; its mode and owner stay, or are copied from the file ``like``. A new
    file without either is its owner's alone.

    ``announce`` is called with the file's new stamp before anybody can see it.
    """
    target = path.resolve()
    with _mapped("write", path):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                _resemble(file.fileno(), like or target)
                file.flush()
                os.fsync(file.fileno())
            announce(_stamp(Path(name).stat()))
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)


def _resemble(descriptor: int, path: Path) -> None:
    """Copy mode and owner: root who edits a service's file must not lock the service out."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode))
    ours = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (ours.st_uid, ours.st_gid):
        os.fchown(descriptor, found.st_uid, found.st_gid)


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _mapped(verb: str, path: Path, kind: type[ConfigurationError] = ConfigurationError) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise kind(f"cannot {verb} {path}: {error.strerror or error}") from None
