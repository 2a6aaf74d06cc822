"""Checks of files: who may read and change them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.admin.doctor.finding import Finding, Fix, note, ok, problem, unknown, warning
from gateway.tenants.files import LIMIT, aside

GROUP, OTHERS = stat.S_IRGRP, stat.S_IROTH
WRITABLE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file's purpose (``what``), whether reading it gives away a ``secret``, its permission bits, None where
    they cannot be read, and whether it is ``ours``: only then may they be changed."""

    check: str
    path: Path
    what: str
    secret: bool
    mode: int | None
    ours: bool = False

    def without(self, bits: int) -> Fix | None:
        """The fix that takes permissions away; None for another user's file."""
        if self.mode is None or not self.ours:
            return None
        kept = self.mode & ~bits
        return Fix(f"chmod {kept:o} {self.path}", partial(self.path.chmod, kept))


def file_facts(check: str, path: Path, what: str, *, secret: bool) -> FileFacts | None:
    """A file's facts; None where there is none."""
    try:
        found = _stat(path)
        return FileFacts(check, path, what, secret, stat.S_IMODE(found.st_mode), found.st_uid == os.geteuid())
    except FileNotFoundError:
        return None
    except OSError:
        return FileFacts(check, path, what, secret, None)


def may_read(path: Path) -> bool:
    """Whether this user may read a file, or it does not exist."""
    try:
        _stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _stat(path: Path) -> os.stat_result:
    """Raises TimeoutError, an OSError, where a mount hangs."""
    return aside(path.stat).result(LIMIT)


def modes(facts: FileFacts) -> Finding:
    """Whether a file's permissions let only the right users read and change it."""
    where = f"{facts.path}, {facts.what},"
    if facts.mode is None:
        return unknown(facts.check, f"{where} may not be looked at from here", "run this as the gateway's user")
    if facts.mode & WRITABLE:
        return problem(
            facts.check,
            f"{where} may be changed by other users of this machine (mode {facts.mode:o})",
            f"chmod go-w {facts.path}",
            facts.without(WRITABLE | (stat.S_IRWXO if facts.secret else 0)),
        )
    return _readable(facts, where, facts.mode)


def _readable(facts: FileFacts, where: str, mode: int) -> Finding:
    if not mode & (GROUP | OTHERS):
        return ok(facts.check, f"{where} is its owner's alone")
    if not mode & OTHERS:
        what = f"{where} may be read by its group (mode {mode:o})"
        advice = f"chmod 600 {facts.path}, unless the group is the gateway's own"
        return warning(facts.check, what, advice) if facts.secret else ok(facts.check, what)
    what, advice = f"{where} may be read by every user of this machine (mode {mode:o})", f"chmod 600 {facts.path}"
    if facts.secret:
        return problem(facts.check, what, advice, facts.without(stat.S_IRWXO))
    return note(facts.check, what, advice)
