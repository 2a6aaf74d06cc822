"""Excerpt: one tenant's own part of a registry file's text, so that an edit need not read the others'. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

HEADER = re.compile(r"^[ \t]*\[[^\n]*", re.MULTILINE)


class Excerpt(NamedTuple):
    """A text in three pieces, of which ``own`` has all tables of one tenant and nobody else's."""

    before: str
    own: str
    after: str

    def with_own(self, own: str) -> str:
        """The whole text with another middle."""
        return self.before + own + self.after


def excerpt(text: str, tenant_id: str) -> Excerpt | None:
    """Where a tenant's tables are, at the end for one who has none; None where they are not in one piece.

    It looks for lines like headers, and cannot tell those in strings from others: whoever puts a text together
    again has to read the whole of it before believing in it.
    """
    headers = list(HEADER.finditer(text))
    own = re.compile(rf"[ \t]*\[tenants\.([\"']?){re.escape(tenant_id)}\1[.\]]")
    mine = [at for at, header in enumerate(headers) if own.match(header[0])]
    if not mine:
        apart = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return Excerpt(text + apart, "", "")
    if len(mine) != mine[-1] - mine[0] + 1:
        return None
    start, following = headers[mine[0]].start(), headers[mine[-1] + 1 :]
    end = following[0].start() if following else len(text)
    return Excerpt(text[:start], text[start:end], text[end:])
