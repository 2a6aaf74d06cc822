"""Conditional and range requests: whether a client's copy is good, and which part it wants. Pure.

To its clients a gateway is the origin (RFC 9110 §3.7), so it also evaluates ``If-Match`` and
``If-Unmodified-Since``, which caches leave alone (RFC 9111 §4.3.2). An answer that the gateway compressed carries
the stored answer's ETag with the coding's name inside the quotes; ``with_originals`` removes it again.

A client gets one part at most. Ranges that touch or overlap are joined; ranges with gaps between them, very many
ranges, and any range of an empty body get the whole answer, as RFC 9110 §14.2 permits: multipart bodies have
helped attackers more than clients (§17.15).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from gateway.cache.dates import http_date
from gateway.errors import Headers

CODINGS = (b"zstd", b"gzip")
"""The content codings whose names the gateway may have put into an ETag."""

METADATA = frozenset(
    {
        *(b"content-type", b"content-encoding", b"content-language", b"content-length", b"content-range"),
        *(b"content-md5", b"content-digest", b"repr-digest", b"digest", b"accept-ranges"),
    }
)
"""What describes a body: a 304 leaves it out (RFC 9110 §15.4.5)."""

# An ETag knows no escapes: a backslash is a character like any other (RFC 9110 §8.8.3).
_MEMBER = re.compile(rb'(?:[^,"]|"[^"]*+"?)++')
_TAG = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def precondition_failed(
    asked: Headers, etag: bytes, last_modified: bytes, codings: Collection[bytes] = CODINGS
) -> bool:
    """Whether 412 answers this GET or HEAD, before anything else may (RFC 9110 §13.2.2).

    ``If-Match`` goes before ``If-Unmodified-Since``; its tags are compared strongly (§8.8.3.2). A date that is
    malformed or repeated says nothing, nor does any where the answer does not say when it was changed (§13.1.4).
    """
    tags = _values(asked, b"if-match")
    if tags:
        return not is_any(tags) and _strong(etag, codings).isdisjoint(_members(b",".join(tags)))
    since = _only_date(_values(asked, b"if-unmodified-since"))
    modified = http_date(last_modified)
    return since is not None and modified is not None and modified > since


def not_modified(
    asked: Headers,
    etag: bytes,
    last_modified: bytes,
    status: int,
    *,
    date: bytes = b"",
    codings: Collection[bytes] = CODINGS,
) -> bool:
    """Whether 304 answers this GET or HEAD (RFC 9110 §13.2.2, RFC 9111 §4.3.2).

    ``If-None-Match`` goes before ``If-Modified-Since``. Without a usable ``Last-Modified`` the answer's ``Date``
    stands in for it. Of the coded variants' tags those of ``codings`` count.
    """
    if status != 200:
        return False
    tags = _values(asked, b"if-none-match")
    if tags:
        return is_any(tags) or copy_of(asked, etag, codings) is not None
    return _unchanged_since(_values(asked, b"if-modified-since"), last_modified, date)


def copy_of(asked: Headers, etag: bytes, codings: Collection[bytes] = CODINGS) -> bytes | None:
    """The tag in ``If-None-Match`` of a copy that is still good: a coded one, the first of ``codings`` at hand,
    else the answer's own tag; None where no member matches.

    Tags are compared weakly (RFC 9110 §8.8.3.2); malformed members match nothing.
    """
    ours = _opaque(etag)
    if ours is None:
        return None
    listed = {_opaque(member) for member in _members(b",".join(_values(asked, b"if-none-match")))}
    for coding in codings:
        if ours + b"-" + coding in listed:
            return coded_tag(etag, coding)
    return etag if ours in listed else None


def is_any(tags: list[bytes]) -> bool:
    """Whether these ``If-Match`` or ``If-None-Match`` lines are the one ``*``, which any answer matches."""
    return len(tags) == 1 and tags[0].strip(b" \t") == b"*"


def unmodified(headers: Headers, etag: bytes) -> Headers:
    """The headers of the 304 for an answer with ``headers``; ``etag`` is the tag of the copy that is still good.

    What describes a body is left out, ``Last-Modified`` only where there is an ETag (RFC 9110 §15.4.5).
    """
    dropped = METADATA | {b"etag", b"last-modified"} if etag else METADATA
    kept = [(name, value) for name, value in headers if name not in dropped]
    return [*kept, (b"etag", etag)] if etag else kept


def coded_tag(etag: bytes, coding: bytes) -> bytes:
    """The ETag of an answer's coded variant; empty where the answer's own is malformed or empty."""
    return etag[:-1] + b"-" + coding + b'"' if _TAG.fullmatch(etag) else b""


def with_originals(tags: bytes, codings: Collection[bytes] = CODINGS) -> bytes:
    """A list of tags in which the origin finds those that it knows: beside each that may be a coded variant's the
    original, since only the origin knows whether it is one of its own. Any other list is left as it is."""
    members = _members(tags)
    originals = [_without_coding(member, codings) for member in members]
    return tags if members == originals else b", ".join(dict.fromkeys([*members, *originals]))


def is_strong_date(last_modified: bytes, date: bytes) -> bool:
    """Whether an answer was made at least a second after its last change (RFC 9110 §8.8.2.2)."""
    modified, made = http_date(last_modified), http_date(date)
    return modified is not None and made is not None and made - modified >= 1


def _without_coding(member: bytes, codings: Collection[bytes]) -> bytes:
    for coding in codings:
        suffix = b"-" + coding + b'"'
        if member.endswith(suffix) and _TAG.fullmatch(member):
            return member.removesuffix(suffix) + b'"'
    return member


def _unchanged_since(since: list[bytes], last_modified: bytes, date: bytes) -> bool:
    """``If-Modified-Since``; a malformed or repeated one says nothing (RFC 9110 §13.1.3)."""
    asked = _only_date(since)
    if asked is None:
        return False
    modified = http_date(last_modified)
    modified = http_date(date) if modified is None else modified
    return modified is not None and modified <= asked


def _only_date(values: list[bytes]) -> float | None:
    return http_date(values[0]) if len(values) == 1 else None


def _strong(etag: bytes, codings: Collection[bytes]) -> set[bytes]:
    """The tag and those of its coded variants, as far as they are strong."""
    found = _TAG.fullmatch(etag)
    return set() if found is None or found[1] else {etag, *(coded_tag(etag, coding) for coding in codings)}


def _values(asked: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in asked if key == name]


def _members(value: bytes) -> list[bytes]:
    """The members of a list of tags (RFC 9110 §5.6.1), which may hold commas inside their quotes."""
    return [stripped for member in _MEMBER.findall(value) if (stripped := member.strip(b" \t"))]


def _opaque(tag: bytes) -> bytes | None:
    """What a tag says without its weakness; None where it is malformed."""
    found = _TAG.fullmatch(tag)
    return None if found is None else found[2]


_UNIT = re.compile(rb"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_STRONG = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')
_DIGITS = 18
"""Numbers with more digits than this are beyond any body; int() would balk at some."""
MOST = 16
"""Ranges in one request that are looked at (RFC 9110 §17.15)."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Whole:
    """No range, or one that does not count: the answer as it is."""


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from ``start`` up to, not including, ``end``; at least one."""

    start: int
    end: int

    def content_range(self, length: int) -> bytes:
        """The ``Content-Range`` of this part of ``length`` bytes (RFC 9110 §14.4)."""
        return b"bytes %d-%d/%d" % (self.start, self.end - 1, length)


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Nothing of what is asked for exists."""

    @staticmethod
    def content_range(length: int) -> bytes:
        """The ``Content-Range`` of a 416 for ``length`` bytes (RFC 9110 §15.5.17)."""
        return b"bytes */%d" % length


WHOLE = Whole()
UNSATISFIABLE = Unsatisfiable()


def range_of(
    asked: Headers, etag: bytes, last_modified: bytes, date: bytes, length: int
) -> Whole | Part | Unsatisfiable:
    """What a GET for a stored 200 of ``length`` bytes asks for (RFC 9110 §14.2).

    A ``Range`` that is malformed, repeated, of another unit, or whose ``If-Range`` does not hold, does not count.
    """
    values = [value for name, value in asked if name == b"range"]
    found = _UNIT.fullmatch(values[0].strip(b" \t")) if len(values) == 1 and length else None
    if found is None or not _holds(asked, etag, last_modified, date):
        return WHOLE
    spans = _spans(found[1], length)
    if not spans:
        return WHOLE
    parts = sorted((start, end) for start, end in spans if start < end)
    return _one_of(parts) if parts else UNSATISFIABLE


def _holds(asked: Headers, etag: bytes, last_modified: bytes, date: bytes) -> bool:
    """``If-Range`` (RFC 9110 §13.1.5): the very tag, if strong, or the very date of the last change, if strong.
    What is tagged weakly may be other bytes although nothing was changed."""
    values = [value.strip(b" \t") for name, value in asked if name == b"if-range"]
    if not values:
        return True
    if len(values) > 1:
        return False
    if _STRONG.fullmatch(values[0]):
        return values[0] == etag
    return values[0] == last_modified and not etag.startswith(b"W/") and is_strong_date(last_modified, date)


def _spans(specs: bytes, length: int) -> list[Span]:
    """The spans of a range set within ``length`` bytes, empty where one lies beyond; none if it is malformed."""
    members = [stripped for spec in specs.split(b",") if (stripped := spec.strip(b" \t"))]
    if len(members) > MOST:
        return []
    spans = [_span(member, length) for member in members]
    read = [span for span in spans if span is not None]
    return read if len(read) == len(spans) else []


def _span(spec: bytes, length: int) -> Span | None:
    """One range (RFC 9110 §14.1.2); None where it has no number, or ends before it starts."""
    found = _SPEC.fullmatch(spec)
    if found is None or spec == b"-":
        return None
    first, last = found[1], found[2]
    if not first:
        return max(0, length - _number(last)), length
    if not last:
        return _number(first), length
    start, end = _number(first), _number(last) + 1
    return (start, min(end, length)) if start < end else None


def _one_of(parts: list[Span]) -> Part | Whole:
    """The one part that sorted spans make up; the whole where there is a gap between them."""
    start, end = parts[0]
    for next_start, next_end in parts[1:]:
        if next_start > end:
            return WHOLE
        end = max(end, next_end)
    return Part(start, end)


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _DIGITS else 10**_DIGITS
