"""Queries that are asked by POST, by their content (docs/service.md, Endpoints). Pure.

The service documents them as reads: they change nothing, so they are cached like any other query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from hashlib import blake2b
from typing import Any, NoReturn

from gateway.catalogue.query import Family, Posted, Query, encoded

POSTED_PATHS = frozenset({b"/count/articles"})
"""Where questions are asked by POST, by these exact bytes: another spelling is an endpoint that nobody knows."""
MOST_POSTED_BYTES = 65_536
"""What the content of such a question may have."""

DESCRIBING = frozenset({b"content-type", b"content-encoding"})
"""Headers that say how the content is to be read."""
JSON = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?', re.IGNORECASE)
"""What says that the content is JSON, and nothing else of it (RFC 8259 §8.1, §11)."""
LONGEST_INTEGER = 18
"""Digits of a number that every parser reads alike."""


def with_content(query: Query, headers: Iterable[tuple[bytes, bytes]], content: bytes) -> Query:
    """The question that a recognised target and this content ask together. Header names are lower case.

    JSON means the same however it is spaced, and in whatever order the members of an object come. Where its
    meaning is not beyond doubt (``canonical_json``), and of any other content, the exact bytes count, and what
    describes them.
    """
    described = tuple([(name, value.strip(b" \t")) for name, value in headers if name in DESCRIBING])
    digest = _digest(content, *(part for pair in described for part in pair))
    plain = len(described) == 1 and JSON.fullmatch(described[0][1]) and described[0][0] == b"content-type"
    meaning = canonical_json(content) if plain else None
    asked = ("content", digest) if meaning is None else ("json", _digest(meaning))
    return replace(
        query,
        family=Family.COUNT,
        canonical=encoded([Family.COUNT, query.exact.decode("ascii"), *asked]),
        posted=Posted(described, content, digest),
    )


def canonical_json(content: bytes) -> bytes | None:
    """JSON without white space, the members of its objects by name (RFC 8259 §4); None where two parsers could
    read it differently: what is no JSON, repeated names, numbers that are not whole or very long, and nesting
    without end.

    Lists stay in their order: an answer's may follow it.
    """
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_doubtful,
            parse_constant=_doubtful,
        )
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        _doubtful("a name that is repeated")
    return members


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER or text == "-0":
        _doubtful(text)
    return int(text)


def _doubtful(text: str) -> NoReturn:
    raise ValueError(f"not read alike by all: {text[:LONGEST_INTEGER]}")


def _digest(*parts: bytes) -> str:
    """Injective, whatever the parts hold."""
    return blake2b(b"".join([b"%d:%s" % (len(part), part) for part in parts]), digest_size=20).hexdigest()
