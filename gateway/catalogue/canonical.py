"""The canonical form: parameters by meaning, and an encoding that no two meanings share."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote

Parameters = list[tuple[str, str | None]]
"""Decoded (name, value) pairs in the order written; the value is None where there was no ``=``."""


def decoded_segments(raw_path: bytes) -> list[str]:
    """The decoded segments of a path that ``check_target`` passed. A plus is a plus here."""
    segments = raw_path.decode("ascii").split("/")[1:]
    return [unquote(s, errors="strict") for s in segments] if b"%" in raw_path else segments


def decoded_parameters(raw_query: bytes) -> Parameters:
    """The parameters of a query that ``check_target`` passed, decoded as HTML forms are.

    ``+`` and ``%20`` are both a space, as for every web framework that the service could be made of. Empty
    pieces (``a=1&&b=2&``) mean nothing.
    """
    plain = b"%" not in raw_query and b"+" not in raw_query
    parameters: Parameters = []
    for piece in raw_query.decode("ascii").split("&"):
        if piece:
            name, equals, value = piece.partition("=")
            if not plain:
                name, value = _form_decoded(name), _form_decoded(value)
            parameters.append((name, value if equals else None))
    return parameters


def encoded(fields: Iterable[str | None]) -> bytes:
    """One byte string for a sequence of fields, injective: length-prefixed, and None apart from ``""``.

    It never begins with a slash, so it never equals a request target.
    """
    return "".join(["-" if field is None else f"{len(field)}:{field}" for field in fields]).encode()


def _form_decoded(text: str) -> str:
    return unquote(text.replace("+", " "), errors="strict")
