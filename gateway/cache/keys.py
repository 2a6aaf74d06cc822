"""Cache keys, which stand for meanings and not for strings, and the variants under one key. Pure.

A stored answer that varies is given to requests that agree on the fields its ``Vary`` names (RFC 9111 §4.1). For
``Accept`` and its kin, values agree that differ only in what their grammar ignores: white space, letter case,
empty members, the spelling of a weight, and the order of members with different weights. Equally weighted members
keep their order, since servers break ties by it (RFC 9110 §12.5.4), except for codings: any coding decodes to the
same. In all other fields only outer white space and line breaks are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain

from gateway.cache.control import Lines
from gateway.cache.entry import SOLE, VARIANT, Entry

SCHEMA = 3
"""Version of what is stored. A change of the key's or the entry's encoding raises it; old records expire."""

PUBLIC = "public"
"""The scope that everybody shares."""

REMEMBERED = 1_024
"""Queries whose key is remembered: dashboards ask the same few again and again."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where a query's answers live: ``entry`` by its meaning, ``error`` by its exact target.

    Both begin with the same hash tag, so that one MGET reads them in a Cluster too. An error record has one
    ``variant`` for each set of headers that go upstream, so that an invalidation of the target covers them all.
    ``flight`` names the flight: the meaning and those headers. ``exact`` is the exact request within the meaning.
    """

    flight: str
    entry: str
    error: str
    exact: str
    variant: str = SOLE


def encode(*parts: bytes) -> bytes:
    """The parts, each after its length, so that no two lists of parts share an encoding."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@lru_cache(REMEMBERED)
def cache_key(
    prefix: str, scope: str, canonical: bytes, exact: bytes, sent: tuple[tuple[bytes, bytes], ...] = ()
) -> CacheKey:
    """The key of a query within a scope.

    ``exact`` is the request that an error answer would echo. ``sent`` are the client's headers as they go
    upstream: the answer may depend on their values, but not on how they are spelt.
    """
    meaning = _digest(20, str(SCHEMA).encode(), scope.encode(), canonical)
    negotiated = encode(*chain.from_iterable([(name, canonical_value(name, value)) for name, value in sent]))
    tag, error, literal = f"{prefix}:{{{meaning}}}", _digest(12, exact, b""), _digest(12, exact, negotiated)
    variant = _digest(VARIANT // 2, negotiated) if sent else SOLE
    flight = f"{meaning}.{variant}" if sent else meaning
    return CacheKey(flight=flight, entry=tag, error=f"{tag}:{error}", exact=literal, variant=variant)


def question_of(method: bytes, exact: bytes, content: bytes = b"") -> str:
    """A digest of the method, target and content of a request, without its negotiated headers."""
    return _digest(12, method, exact, content)


def _digest(size: int, *parts: bytes) -> str:
    return blake2b(encode(*parts), digest_size=size).hexdigest()


TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
CODING = re.compile(TOKEN)
LANGUAGE = re.compile(rb"(?:[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)")
MEDIA_RANGE = re.compile(TOKEN + rb"/" + TOKEN)
PARAMETER = re.compile(rb"(" + TOKEN + rb")=(" + TOKEN + rb")")
WEIGHT = re.compile(rb"[01]|0\.[0-9]{0,3}|1\.0{0,3}")
"""RFC 9110 §12.4.2."""

KINDS = {
    b"accept": MEDIA_RANGE,
    b"accept-charset": CODING,
    b"accept-encoding": CODING,
    b"accept-language": LANGUAGE,
}
"""The fields whose grammar is known, by what their members are (RFC 9110 §12.5)."""
UNORDERED = frozenset({b"accept-encoding"})
HOT, SHORT = 1_024, 512
"""How many values have their canonical form remembered, and the longest such value in bytes."""

Vary = tuple[bytes, ...]
Member = tuple[int, bytes]
"""A weight in thousandths, and the name it belongs to."""


def select(entries: Sequence[Entry], headers: Lines) -> Entry | None:
    """The newest entry that a request with these headers may have.

    Entries from versions without a canonical form are found by their exact spelling.
    """
    if entries and not entries[0].vary:
        return entries[0]
    return _first(entries, headers, variant_of) or _first(entries, headers, spelling_of)


def variant_of(vary: Vary, headers: Lines) -> str:
    """A digest of the canonical values that a request has for the fields in ``vary``; an absent field differs from
    an empty one."""
    return _variant_digest(vary, headers, canonical_value)


def spelling_of(vary: Vary, headers: Lines) -> str:
    """A digest of the same values as they are spelt."""
    return _variant_digest(vary, headers, lambda _, value: value)


def canonical_value(name: bytes, value: bytes) -> bytes:
    """The one spelling of a field's value that stands for all with the same meaning."""
    if name not in KINDS:
        return value
    return _remembered(name, value) if len(value) <= SHORT else _canonical(name, value)


def _first(entries: Sequence[Entry], headers: Lines, digest: Callable[[Vary, Lines], str]) -> Entry | None:
    digests: dict[Vary, str] = {}
    for entry in entries:
        if not entry.vary:
            return entry
        if entry.vary not in digests:
            digests[entry.vary] = digest(entry.vary, headers)
        if digests[entry.vary] == entry.variant:
            return entry
    return None


def _variant_digest(vary: Vary, headers: Lines, spelt: Callable[[bytes, bytes], bytes]) -> str:
    if not vary:
        return SOLE
    digest = blake2b(digest_size=VARIANT // 2)
    given: dict[bytes, list[bytes]] = {}
    for key, value in headers:
        given.setdefault(key.lower(), []).append(value.strip(b" \t"))
    for name in vary:
        # Several cookies in one line are divided by semicolons (RFC 9113 §8.2.3).
        lines, comma = given.get(name), b"; " if name == b"cookie" else b", "
        marked = b"-" if lines is None else b"+" + spelt(name, comma.join(lines))
        digest.update(len(name).to_bytes(4, "big") + name + len(marked).to_bytes(4, "big") + marked)
    return digest.hexdigest()


def _canonical(name: bytes, value: bytes) -> bytes:
    members: list[Member] = []
    for text in value.split(b","):
        if not (text := text.strip(b" \t")):
            continue
        member = _member(KINDS[name], text)
        if member is None:
            return value
        members.append(member)
    if name in UNORDERED:
        members.sort(key=lambda member: member[1])
    members.sort(key=lambda member: -member[0])
    return b", ".join([_spelt(*member) for member in members])


_remembered = lru_cache(HOT)(_canonical)


def _member(kind: re.Pattern[bytes], text: bytes) -> Member | None:
    """A member of a list; None where it does not match the grammar, or has parameters that are not understood."""
    named, *parameters = [part.strip(b" \t") for part in text.split(b";")]
    if not kind.fullmatch(named):
        return None
    weight, spelt = 1000, [named.lower()]
    for number, parameter in enumerate(parameters, 1):
        found = PARAMETER.fullmatch(parameter)
        if found is None:
            return None
        if found[1].lower() != b"q":
            spelt.append(found[1].lower() + b"=" + found[2])
        elif number == len(parameters) and WEIGHT.fullmatch(found[2]):
            weight = round(float(found[2]) * 1000)
        else:
            return None
    return (weight, b";".join(spelt)) if kind is MEDIA_RANGE or len(spelt) == 1 else None


def _spelt(weight: int, named: bytes) -> bytes:
    if weight == 1000:
        return named
    return named + b";q=" + f"{weight / 1000:.3f}".rstrip("0").rstrip(".").encode()
