"""Recognises request targets, and content that is posted, as queries (docs/service.md, Endpoints). Pure.

The service documents queries by POST as reads: they change nothing, so they are cached like all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from hashlib import blake2b
from importlib.resources import files
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

from gateway.catalogue.families import ALL_TIME, FIRST_SEGMENTS, PATHS, Family
from gateway.catalogue.query import (
    Parameters,
    Posted,
    Query,
    decoded_parameters,
    decoded_segments,
    encoded,
    read_window,
)
from gateway.catalogue.target import check_target, parted

COUNTERS = ("views", "downloads", "shares")
ITEMS = ("article", "author", "collection", "group", "project")
GRANULARITIES = ("day", "month", "year", "total")
IGNORED = frozenset({"_"})

_NO_INSTITUTION = FIRST_SEGMENTS | {"-", ""}
_COUNTERS = frozenset({*COUNTERS, None})
_GRANULARITIES = frozenset({*GRANULARITIES, None})

_SUB_ITEMS = frozenset({"category", "item_type"})
_TOPS_SUB_ITEMS = _SUB_ITEMS | {"referral"}

_COUNT = re.compile(r"[1-9][0-9]*")
_DEFAULT_COUNT = "10"


class _Place(NamedTuple):
    """What a known path says."""

    family: Family
    institution: str | None
    granularity: str | None = None
    counter: str | None = None
    item: str = ""
    item_id: str | None = None


def recognise(
    raw_path: bytes,
    raw_query: bytes,
    marked: bool = False,
    *,
    ignored: Collection[str] = IGNORED,
    max_bytes: int = 4096,
) -> Query:
    """What a request target asks. The path and query are as the client wrote them, without the ``?`` between;
    ``marked`` says that there is one even where the query is empty.

    ``ignored`` names parameters that change no answer and so stay out of the canonical form; a family's
    documented parameters are never among them. What the catalogue does not know in every detail, such as a
    path it lacks or a parameter that is repeated, empty or malformed, is UNKNOWN: the service is to judge it.

    Raises BadTarget for a target that has no single reading or is longer than ``max_bytes``.
    """
    check_target(raw_path, raw_query, max_bytes)
    exact = raw_path + b"?" + raw_query if raw_query or marked else raw_path
    segments = decoded_segments(raw_path)
    institution = None if segments[0] in _NO_INSTITUTION else segments[0]
    known = _read(institution, segments, raw_query, exact, ignored)
    if isinstance(known, Query):
        return known
    return Query(Family.UNKNOWN, canonical=exact, exact=exact, institution=institution)


def why_unknown(query: Query) -> str:
    """Why an unknown query is none that the catalogue knows, as the rest of a sentence that names it; empty for a
    known one."""
    if query.family is not Family.UNKNOWN:
        return ""
    raw_path, raw_query, _ = parted(query.exact)
    if raw_path in POSTED_PATHS:
        return "it is asked by POST"
    known = _read(query.institution, decoded_segments(raw_path), raw_query, query.exact, IGNORED)
    return known if isinstance(known, str) else ""


NO_SUCH_PATH = "the service documents no endpoint with this path"


def _read(
    institution: str | None, segments: list[str], raw_query: bytes, exact: bytes, ignored: Collection[str]
) -> Query | str:
    """The query that a target asks; why it is none that is known."""
    place = _place(institution, segments if institution is None else segments[1:])
    return place if isinstance(place, str) else _known(place, raw_query, exact, ignored)


def _place(institution: str | None, segments: list[str]) -> _Place | str:
    known = PATHS.get((segments[0], len(segments))) if segments else None
    if known is None:
        return NO_SUCH_PATH
    family, fields = known
    place = _Place(family, institution, **dict(zip(fields, segments[1:], strict=True)))
    if place.counter not in _COUNTERS:
        return f"its counter is none of {', '.join(COUNTERS)}"
    if place.item not in ITEMS:
        return f"its item is none of {', '.join(ITEMS)}"
    if place.granularity not in _GRANULARITIES:
        return f"its granularity is none of {', '.join(GRANULARITIES)}"
    return place if place.item_id != "" else "it has no item id"


def _known(place: _Place, raw_query: bytes, exact: bytes, ignored: Collection[str]) -> Query | str:
    if b";" in raw_query:
        # Some servers split parameters at semicolons too: what is asked is anybody's guess.
        return "its query has a semicolon, at which some servers split parameters"
    sorted_out = _sort_out(decoded_parameters(raw_query), place.family.form.parameters, ignored)
    if isinstance(sorted_out, str):
        return sorted_out
    known, others = sorted_out
    window = read_window(place.family, place.granularity, known)
    if isinstance(window, str):
        return window
    if wrong := _undocumented_filter(place.family, known):
        return wrong
    if window.end_date is not None:
        known["end_date"] = window.end_date
    if place.family is Family.TOPS:
        known.setdefault("count", _DEFAULT_COUNT)
    return Query(
        place.family,
        canonical=_canonical(place, known, others),
        exact=exact,
        institution=place.institution,
        counter=place.counter,
        item=place.item,
        item_id=place.item_id or known.get("item_id"),
        granularity=place.granularity,
        sub_item=known.get("sub_item"),
        protected=place.institution is not None and place.family not in ALL_TIME,
        last_day=window.last_day,
        rests_on_today=window.rests_on_today,
    )


def _sort_out(
    parameters: Parameters, documented: Collection[str], ignored: Collection[str]
) -> tuple[dict[str, str], Parameters] | str:
    """Documented parameters apart from others, ignored ones gone; what is wrong if one documented is empty or
    repeated."""
    known: dict[str, str] = {}
    others: Parameters = []
    for name, value in parameters:
        if name in documented:
            if not value:
                return f"its parameter {name} is empty"
            if name in known:
                return f"its parameter {name} is repeated"
            known[name] = value
        elif name not in ignored:
            others.append((name, value))
    return known, others


def _undocumented_filter(family: Family, known: dict[str, str]) -> str:
    """What is wrong with the filters of a query; empty where nothing is."""
    sub_item, allowed = known.get("sub_item"), _TOPS_SUB_ITEMS if family is Family.TOPS else _SUB_ITEMS
    if sub_item is not None and sub_item not in allowed:
        return f"its sub_item is none of {', '.join(sorted(allowed))}"
    if family is Family.TOPS:
        return "" if _COUNT.fullmatch(known.get("count", _DEFAULT_COUNT)) else "its count is no number above 0"
    if (sub_item is None) == ("sub_item_id" in known):
        return "its sub_item and sub_item_id come only together"
    return ""


def _canonical(place: _Place, known: dict[str, str], others: Parameters) -> bytes:
    """The place, then the parameters by name; equal names keep their order, which may matter to the service."""
    fields: list[str | None] = [*place]
    for name, value in sorted([*known.items(), *others], key=itemgetter(0)):
        fields += (name, value)
    return encoded(fields)


def openapi(version: str) -> dict[str, Any]:
    """The public listener's OpenAPI document: ``openapi.json`` with the version and the catalogue's names."""
    document: dict[str, Any] = json.loads((files("gateway.catalogue") / "openapi.json").read_bytes())
    document["info"]["version"] = version
    for name, values in (("counter", COUNTERS), ("item", ITEMS), ("granularity", GRANULARITIES)):
        document["components"]["parameters"][name]["schema"]["enum"] = sorted(values)
    return document


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
    return blake2b(b"".join([b"%d:%s" % (len(part), part) for part in parts]), digest_size=20).hexdigest()
