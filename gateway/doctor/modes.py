"""Modes: who else on this machine may read or change the gateway's files."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.doctor.finding import Finding, note, ok, problem, unknown, warning
from gateway.tenants.files import LIMIT, aside

GROUP, OTHERS = stat.S_IRGRP, stat.S_IROTH
WRITABLE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file, what it is to the gateway, its permission bits (None where they cannot be read), and whether it
    holds anything ``secret`` that reading it gives away."""

    check: str
    path: Path
    what: str
    secret: bool
    mode: int | None


def file_facts(check: str, path: Path, what: str, *, secret: bool) -> FileFacts | None:
    """A file's facts; None where there is none."""
    try:
        return FileFacts(check, path, what, secret, stat.S_IMODE(_stat(path).st_mode))
    except FileNotFoundError:
        return None
    except OSError:
        return FileFacts(check, path, what, secret, None)


def may_read(path: Path) -> bool:
    """Whether this user may read a file, or there is none."""
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
    """Whether the right users, and only those, may do anything with a file."""
    where = f"{facts.path}, {facts.what},"
    if facts.mode is None:
        return unknown(facts.check, f"{where} may not be looked at from here", "run this as the gateway's user")
    if facts.mode & WRITABLE:
        return problem(
            facts.check,
            f"{where} may be changed by other users of this machine (mode {facts.mode:o})",
            f"chmod go-w {facts.path}",
        )
    return _readable(facts, where, facts.mode)


def _readable(facts: FileFacts, where: str, mode: int) -> Finding:
    if not mode & (GROUP | OTHERS):
        return ok(facts.check, f"{where} is its owner's alone")
    if not mode & OTHERS:
        told = f"{where} may be read by its group (mode {mode:o})"
        advice = f"chmod 600 {facts.path}, unless the group is the gateway's own"
        return warning(facts.check, told, advice) if facts.secret else ok(facts.check, told)
    told, advice = f"{where} may be read by every user of this machine (mode {mode:o})", f"chmod 600 {facts.path}"
    return problem(facts.check, told, advice) if facts.secret else note(facts.check, told, advice)
