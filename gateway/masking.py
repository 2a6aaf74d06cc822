"""Masking: what may be shown of a URL that can hold a password, or of a text that can hold a gateway key. Pure."""

from __future__ import annotations

import re

MASK = "***"
KEY = re.compile(r"sgw(?:_|%5[Ff])(?:[A-Za-z0-9_]|%5[Ff])+")
SCHEME = re.compile(r"(rediss?(\+sentinel|\+cluster)?|unix|memory|https?)", re.IGNORECASE)
USER = re.compile(r"([A-Za-z0-9_.-]*):")
HOST = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
PLACE = re.compile(rf"({HOST}(,{HOST})*)?(/[A-Za-z0-9_.-]*)*")


def without_keys(text: str) -> str:
    """The text with a mask in the place of whatever looks like a gateway key, or like a part of one."""
    return KEY.sub(f"sgw_{MASK}", text)


def masked_url(url: str) -> str:
    """A URL fit to be shown: the password becomes ``***``, however oddly the URL is written.

    Shown is only what is certain to be none: a known scheme; a plain user in front of a ``:``; hosts, ports and
    path after the last ``@``. A password may hold ``/``, ``?``, ``#`` and ``@`` raw, and a query may hold one too
    (redis-py takes ``?password=``), so that no query is shown, nor what follows an ``@`` behind a ``?``.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or not SCHEME.fullmatch(scheme):
        return "***"
    head, at, place = rest.rpartition("@")
    place, *query = re.split(r"[?#]", place, maxsplit=1)
    if "?" in head or "#" in head or not PLACE.fullmatch(place):
        place = "***"
    user = USER.match(head)
    who = f"{user[1]}:***@" if user else "***@" if at else ""
    return f"{scheme}://{who}{place}{'?***' if query else ''}"
