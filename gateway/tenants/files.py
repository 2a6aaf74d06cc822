"""Small files shared by processes: atomic writes, locks, and reads with a time limit.

A file is replaced by another one, so that no reader sees half of it. Where that cannot be, as with a file that is
mounted by itself into a container, it is written in place: after a copy of it was made, while it is locked, and
only if nobody changed it meanwhile. A reader waits a moment for that lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from gateway.errors import ConfigurationError, RegistryReadOnly, RegistryUnavailable

LIMIT = 5.0
"""Seconds that a file may take to be read."""
PATIENCE = 0.5
"""Seconds that a reader waits for whoever writes a file in place, which takes milliseconds."""
IN_PLACE = frozenset({errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM})
"""Why a file that can be written may not be replaced: a mount point, or a folder that is not ours to write."""
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
            _flock(descriptor, fcntl.LOCK_SH, PATIENCE)
            # With a byte order mark or without: some editors add one.
            with open(descriptor, encoding="utf-8-sig", closefd=False) as file:
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
    """Raise RegistryReadOnly for a file that is read-only, or lies in a read-only folder and cannot be written
    itself."""
    folder = path.resolve().parent
    marked = path.exists() and not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or (folder.is_dir() and not os.access(folder, os.W_OK) and not os.access(path, os.W_OK)):
        raise RegistryReadOnly(
            f"{path} is read-only here; change it where it comes from (a Kubernetes Secret, a configuration "
            "management), and running gateways follow"
        )


@contextmanager
def locked(path: Path, *, needed: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on ``<path>.lock``; without it where that cannot be made, unless it is ``needed``."""
    target = path.resolve()
    try:
        lock = os.open(target.with_name(target.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if needed or error.errno not in IN_PLACE:
            raise ConfigurationError(f"cannot lock {path}: {error.strerror}") from None
        yield
        return
    try:
        with _mapped("lock", path):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class Overtaken(ConfigurationError):
    """Another process changed the file that was to be written in place."""


Announce = Callable[[Stamp], None]


def replace(
    path: Path,
    text: str,
    like: Path | None = None,
    announce: Announce = lambda _: None,
    before: Stamp | None = None,
) -> None:
    """Write a file durably, and atomically where it can be replaced; its mode and owner stay, or are copied from
    the file ``like``. A new file without either is its owner's alone.

    ``announce`` is called with the file's new stamp before anybody can see it. Raises Overtaken where the file has
    another stamp than ``before``, if that is given, and can only be written in place.
    """
    target, content = path.resolve(), text.encode()
    with _mapped("write", path):
        try:
            _atomically(target, content, like or target, announce)
        except OSError as error:
            if error.errno not in IN_PLACE or not os.access(target, os.W_OK):
                raise
            _in_place(target, content, announce, before)


def _atomically(target: Path, content: bytes, like: Path | None, announce: Announce = lambda _: None) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if like is not None:
                _resemble(file.fileno(), like)
            file.flush()
            os.fsync(file.fileno())
        announce(_stamp(Path(name).stat()))
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _in_place(target: Path, content: bytes, announce: Announce, before: Stamp | None) -> None:
    with target.open("r+b") as file:
        if not _flock(file.fileno(), fcntl.LOCK_EX, LIMIT):
            raise ConfigurationError(f"cannot write {target}: another process has it locked")
        if before is not None and _stamp(os.fstat(file.fileno())) != before:
            raise Overtaken(f"{target} was changed by others while it was edited")
        _keep_copy(target, file.read())
        file.seek(0)
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
        announce(_stamp(os.fstat(file.fileno())))


def _keep_copy(target: Path, content: bytes) -> None:
    """Keep a copy in ``<target>.copy``, or in the folder for temporary files where there can be none. It is its
    owner's alone, whoever left a file of that name there."""
    for folder in (target.parent, Path(tempfile.gettempdir())):
        with suppress(OSError):
            return _atomically(folder / f"{target.name}.copy", content, None)
    raise ConfigurationError(f"cannot write {target}: there is no room for a copy of it")


def _flock(descriptor: int, how: int, seconds: float) -> bool:
    """Lock a file that others may have locked for a moment; whether that is so now. A file system without locks
    has nobody who writes in place."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        except OSError:
            return True


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
