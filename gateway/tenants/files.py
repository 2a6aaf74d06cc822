"""Small files that several processes read and write: never half written, never two writers at once."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigurationError, RegistryReadOnly

Stamp = tuple[int, int, int]
"""What changes when a file does: modification time in nanoseconds, size in bytes, inode."""


def read(path: Path) -> str | None:
    """A file's text, or None where there is no file. Raises ConfigurationError for one that cannot be read."""
    with _mapped("read", path):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from None


def stamp(path: Path) -> Stamp | None:
    """A file's stamp, or None where there is no file."""
    with _mapped("read", path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def open_to_others(path: Path) -> bool:
    """Whether users other than its owner may do anything with a file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


def check_writable(path: Path) -> None:
    """Raises RegistryReadOnly for a file that is read-only, or lies where nothing can be written."""
    folder = path.resolve().parent
    marked = path.exists() and not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or (folder.is_dir() and not os.access(folder, os.W_OK)):
        raise RegistryReadOnly(
            f"{path} is read-only here; change it where it comes from (a Kubernetes Secret, a configuration "
            "management), and running gateways follow"
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds ``<path>.lock`` against all other processes and threads that do the same."""
    target = path.resolve()
    with _mapped("lock", path):
        lock = os.open(target.with_name(target.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _mapped("lock", path):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all, durably; its mode and owner stay, a new one is its owner's alone."""
    target = path.resolve()
    with _mapped("write", path):
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                _resemble(file.fileno(), target)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_directory(target.parent)


def _resemble(descriptor: int, path: Path) -> None:
    """Mode and owner as the file had; root who edits a service's file must not lock the service out."""
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
def _mapped(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"cannot {verb} {path}: {error.strerror or error}") from None
