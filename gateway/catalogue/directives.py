"""Directives: what an upstream answer says about its own caching (RFC 9111 §5.2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_PIECE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++', re.DOTALL)
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = re.compile(rb"(" + _TOKEN + rb')(?:=(?:"((?:[^"\\]|\\.)*)"|(' + _TOKEN + rb")))?", re.DOTALL)
_SECONDS = re.compile(rb"[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives that bound a lifetime. ``max_age`` (seconds) is what the ``Age`` header leaves of it."""

    no_store: bool = False
    private: bool = False
    must_revalidate: bool = False
    max_age: float | None = None

    def forbids_storing(self, private_scope: bool) -> bool:
        """Whether the answer may not be stored: in the public scope, or in a credential's."""
        return self.no_store or (self.private and not private_scope)


def read_directives(headers: Sequence[tuple[bytes, bytes]]) -> Directives:
    """The directives of an answer, header names in lower case; several ``Cache-Control`` lines count as one.

    ``no-cache`` counts as ``no-store``: an entry that must be asked for each time saves no call. Field lists
    (``private="set-cookie"``) are taken as if they meant the whole answer, which RFC 9111 §5.2.2.4 and §5.2.2.7
    allow. What cannot be read makes the answer stale at once (§4.2.1).
    """
    value = joined(headers, b"cache-control")
    if not value:
        return Directives()
    found = [_DIRECTIVE.fullmatch(piece.strip()) for piece in _PIECE.findall(value) if piece.strip()]
    directives = [(m[1].lower(), m[2] or m[3] or b"") for m in found if m is not None]
    names = {name for name, _ in directives}
    max_age = 0.0 if None in found else _max_age(directives)
    return Directives(
        no_store=not names.isdisjoint({b"no-store", b"no-cache"}),
        private=b"private" in names,
        must_revalidate=not names.isdisjoint({b"must-revalidate", b"proxy-revalidate"}),
        max_age=None if max_age is None else max_age - _age(headers),
    )


def joined(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes:
    """A header's value, its lines joined (RFC 9110 §5.3); empty when there is none."""
    return b", ".join([value for key, value in headers if key == name])


def _max_age(directives: list[tuple[bytes, bytes]]) -> float | None:
    """``s-maxage`` goes before ``max-age`` (RFC 9111 §5.2.2.10); the smallest of several, 0 if unreadable."""
    for wanted in (b"s-maxage", b"max-age"):
        values = [value for name, value in directives if name == wanted]
        if values:
            return min(float(v) if _SECONDS.fullmatch(v) else 0.0 for v in values)
    return None


def _age(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """How old the answer already was; an unreadable ``Age`` counts as none (RFC 9111 §5.1)."""
    value = joined(headers, b"age").strip()
    return float(value) if _SECONDS.fullmatch(value) else 0.0
