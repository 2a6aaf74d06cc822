"""Ranges: which part of a whole stored answer a request wants. Pure.

One part is all that is given. Several ranges that touch or overlap are one; ranges with gaps between them get the
whole answer, which RFC 9110 §14.2 leaves to the server: who asks for many small pieces of one body gains little,
and multipart bodies have served attackers better than clients (§17.15). Very many ranges get it too, and so does
any range of an empty body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.caching.conditional import is_strong_date
from gateway.errors import Headers

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
