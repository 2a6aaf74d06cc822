"""Conditional requests: whether a client's own copy of a stored answer is still good. Pure.

To its clients a gateway is the origin (RFC 9110 §3.7): ``If-Match`` and ``If-Unmodified-Since``, which are not for
caches (RFC 9111 §4.3.2), are evaluated too, by the answer that the client would get.
The gateway's coded variants carry the stored answer's ETag with the coding's name inside the quotes;
``with_originals`` takes it off again.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.caching.dates import http_date
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
    original, since only the origin can tell whether it is one of its own. Any other list is left as it is."""
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
