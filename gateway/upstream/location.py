"""Location: where a redirect of the service's leads, as a client here would follow it. Pure."""

from __future__ import annotations

import re

import httpx2 as httpx

from gateway.errors import Headers

AUTHORITY = re.compile(rb"(?i:(https?):)?//([^/?#\\]*)(.*)", re.DOTALL)
STAYING = re.compile(rb"(?![/\\]{2})[^:/?#\\\s]*(?:[/?#]\S*)?")
"""References that every client resolves within the origin (RFC 3986 §4.2): no scheme, no authority, nor what a
browser takes for one, such as backslashes and white space."""


def relative(location: bytes, base: httpx.URL) -> bytes:
    """A Location at the service as its clients here would write it: without origin, and without the prefix.

    Everything else is returned as it came, also what would read as another host once its origin is gone.
    """
    found = AUTHORITY.fullmatch(location)
    if found is not None and not _is_authority_of(base, found[1], found[2]):
        return location
    target = location if found is None else found[3]
    prefix = base.raw_path.rstrip(b"/")
    if found is None and not (prefix and target.startswith(b"/")):
        return location
    if not re.match(re.escape(prefix) + rb"([/?#]|$)", target):
        return location
    rest = target[len(prefix) :]
    rest = rest if rest.startswith(b"/") else b"/" + rest
    return location if rest[1:2] in (b"/", b"\\") else rest


def leaves(status: int, headers: Headers) -> bytes | None:
    """Where a redirect with these headers, Location relative where it can be, leads away from the origin.

    None where it stays, and for what is no redirect (RFC 9110 §15.4).
    """
    if not 300 <= status < 400 or status == 304:
        return None
    return next((value for name, value in headers if name == b"location" and not STAYING.fullmatch(value)), None)


def _is_authority_of(base: httpx.URL, scheme: bytes | None, authority: bytes) -> bool:
    scheme = base.raw_scheme if scheme is None else scheme.lower()
    default = b":443" if scheme == b"https" else b":80"
    return scheme == base.raw_scheme and authority.lower().removesuffix(default) == base.netloc
