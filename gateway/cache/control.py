"""Cache-Control of responses and requests (RFC 9111 §5.2, RFC 9213). Pure.

Header names are lower case throughout; all durations are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

Lines = Sequence[tuple[bytes, bytes]]
Directives = Mapping[bytes, bytes | None]

LONGEST = 2.0**31
"""A delta-seconds beyond this counts as this (RFC 9111 §1.2.2)."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PIECE = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++', re.DOTALL)
_DIRECTIVE = re.compile(rb"(" + _TOKEN + rb')(?:=(?:"((?:[^"\\]|\\.)*)"|(' + _TOKEN + rb")))?", re.DOTALL)
_SECONDS = re.compile(rb"[0-9]+")

_KEY = rb"[a-z*][a-z0-9_.*-]*"
_ITEM = (
    rb"(?:-?[0-9]{1,15}(?:\.[0-9]{1,3})?|\"(?:[ !#-\[\]-~]|\\[\"\\])*\"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
    rb"|:[A-Za-z0-9+/=]*:|\?[01]|\([^()\"]*\))"
)
_MEMBER = rb"(" + _KEY + rb")(?:=(" + _ITEM + rb"))?(?:; *" + _KEY + rb"(?:=" + _ITEM + rb")?)*"
_DICTIONARY = re.compile(rb" *" + _MEMBER + rb"(?:[ \t]*,[ \t]*" + _MEMBER + rb")* *")
_MEMBERS = re.compile(_MEMBER)
_NUMBERS = frozenset({b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"})


@dataclass(frozen=True, slots=True)
class CacheControl:
    """The directives that govern one response, as a shared cache reads them.

    ``unreadable`` says that part of the field could not be read, which makes the response stale at once
    (RFC 9111 §4.2.1). ``targeted`` says that they come from ``CDN-Cache-Control``, beside which
    ``Cache-Control`` and ``Expires`` do not count (RFC 9213 §2.2).
    """

    directives: Directives = field(default_factory=lambda: MappingProxyType({}))
    unreadable: bool = False
    targeted: bool = False

    def __contains__(self, name: bytes) -> bool:
        return name in self.directives

    @property
    def max_age(self) -> float | None:
        """``s-maxage``, else ``max-age`` (RFC 9111 §5.2.2.10); 0 where it cannot be read; None without one."""
        if self.unreadable:
            return 0.0
        for name in (b"s-maxage", b"max-age"):
            if name in self.directives:
                return seconds(self.directives[name]) or 0.0
        return None

    @property
    def stale_while_revalidate(self) -> float:
        """How long it may serve stale while it is refreshed (RFC 5861 §3); 0 without the directive."""
        return seconds(self.directives.get(b"stale-while-revalidate")) or 0.0

    @property
    def stale_if_error(self) -> float:
        """How long it may stand in for a failure (RFC 5861 §4); 0 without the directive."""
        return seconds(self.directives.get(b"stale-if-error")) or 0.0

    @property
    def no_cache(self) -> bool:
        """Whether each use needs a validation; a field list counts as the whole (RFC 9111 §5.2.2.4)."""
        return b"no-cache" in self.directives

    @property
    def forbids_stale(self) -> bool:
        """Whether it must never serve stale in a shared cache (RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10)."""
        return not self.directives.keys().isdisjoint(
            {b"must-revalidate", b"proxy-revalidate", b"s-maxage", b"no-cache"}
        )

    def forbids_storing(self, private_scope: bool) -> bool:
        """Whether a shared cache may not store it; a credential's own scope satisfies ``private``."""
        return b"no-store" in self.directives or (b"private" in self.directives and not private_scope)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request asks of caches (RFC 9111 §5.2.1). ``max_stale`` is infinite where it has no value."""

    no_cache: bool = False
    no_store: bool = False
    no_transform: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    min_fresh: float | None = None
    max_stale: float | None = None
    stale_if_error: float | None = None


NO_WISHES = Wishes()
WISHING = frozenset({b"cache-control", b"pragma"})
"""The headers that hold a request's wishes."""


def response_control(headers: Lines) -> CacheControl:
    """What governs a response: a valid ``CDN-Cache-Control``, else all its ``Cache-Control`` lines as one."""
    targeted = joined(headers, b"cdn-cache-control")
    if targeted:
        members = _dictionary(targeted)
        if members:
            return CacheControl(members, targeted=True)
    value = joined(headers, b"cache-control")
    if not value:
        return CacheControl()
    directives, unreadable = _read(value)
    return CacheControl(directives, unreadable)


def wishes_of(headers: Lines) -> Wishes:
    """What a request wishes. ``Pragma: no-cache`` counts where there is no ``Cache-Control`` (RFC 9111 §5.4).

    What cannot be read is no wish.
    """
    value = joined(headers, b"cache-control")
    if not value:
        pragma = joined(headers, b"pragma")
        return Wishes(no_cache=True) if pragma and b"no-cache" in words(pragma) else NO_WISHES
    given, _ = _read(value)
    max_stale = seconds(given.get(b"max-stale"))
    if b"max-stale" in given and given[b"max-stale"] is None:
        max_stale = float("inf")
    return Wishes(
        no_cache=b"no-cache" in given,
        no_store=b"no-store" in given,
        no_transform=b"no-transform" in given,
        only_if_cached=b"only-if-cached" in given,
        max_age=seconds(given.get(b"max-age")),
        min_fresh=seconds(given.get(b"min-fresh")),
        max_stale=max_stale,
        stale_if_error=seconds(given.get(b"stale-if-error")),
    )


def age_of(headers: Lines) -> float:
    """The ``Age`` that a response came with: its first member; one that is no number counts as 0 (§5.1)."""
    value = next((value for name, value in headers if name == b"age"), b"")
    return seconds(value.partition(b",")[0].strip()) or 0.0


def joined(headers: Lines, name: bytes) -> bytes:
    """A header's value, its lines joined (RFC 9110 §5.3); empty when there is none."""
    return b", ".join([value for key, value in headers if key == name])


def words(value: bytes) -> set[bytes]:
    """The members of a comma-separated list, in lower case."""
    return {word.strip().lower() for word in value.split(b",")} - {b""}


def _read(value: bytes) -> tuple[Directives, bool]:
    """The directives, and whether part of the value is none. Of repeated numbers the smallest counts."""
    directives: dict[bytes, bytes | None] = {}
    unreadable = False
    for piece in _PIECE.findall(value):
        if not (piece := piece.strip()):
            continue
        found = _DIRECTIVE.fullmatch(piece)
        if found is None:
            unreadable = True
            continue
        name, given = found[1].lower(), found[2] if found[2] is not None else found[3]
        directives[name] = _smaller(directives[name], given) if name in directives else given
    return directives, unreadable


def _dictionary(value: bytes) -> Directives:
    """A targeted field's members (RFC 9213 §2.1, RFC 8941 §3.2); none where any part of it is not valid."""
    if not _DICTIONARY.fullmatch(value):
        return {}
    members = {found[1]: found[2] for found in _MEMBERS.finditer(value)}
    if any(name in _NUMBERS and seconds(given) is None for name, given in members.items()):
        return {}
    return {name: given for name, given in members.items() if given != b"?0"}


def _smaller(one: bytes | None, other: bytes | None) -> bytes | None:
    return min((one, other), key=lambda given: seconds(given) or 0.0)


def seconds(value: bytes | None) -> float | None:
    """A delta-seconds of any length, ``LONGEST`` at most (RFC 9111 §1.2.2); None for anything else."""
    if value is None or not _SECONDS.fullmatch(value):
        return None
    return LONGEST if len(value.lstrip(b"0")) > 10 else min(float(value), LONGEST)


def names_of(value: Iterable[bytes]) -> tuple[bytes, ...]:
    """Distinct field names in lower case, sorted; as in ``Vary`` (RFC 9110 §12.5.5)."""
    return tuple(sorted(set().union(*(words(line) for line in value))))
