"""Unasked: answers that nobody asked for, by their status: repaired where they can be, else refused. Pure."""

from __future__ import annotations

import re

from gateway.caching.conditional import METADATA
from gateway.errors import Headers, UpstreamProtocolError

ALL_OF_IT = re.compile(rb"bytes[ \t]+0-([0-9]{1,18})/([0-9]{1,18})", re.IGNORECASE)
RESET_CONTENT, PARTIAL_CONTENT = 205, 206

Answer = tuple[int, Headers, bytes]
"""Status, headers, and content."""


def repaired(asked: Headers, status: int, headers: Headers, content: bytes, received: int) -> Answer:
    """The answer to a request with the headers ``asked``, as its status means it; most are as they came.

    A 205 has no content (RFC 9110 §15.3.6): what came with one is dropped. A 206 answers a ``Range`` (§15.3.7).
    Without one, a part of something would be taken for the whole: raises UpstreamProtocolError, unless it is all
    of it, which is a 200. ``received`` are the bytes of the content as they came.
    """
    if status == RESET_CONTENT:
        return status, [line for line in headers if line[0] not in METADATA], b""
    if status != PARTIAL_CONTENT or any(name.lower() == b"range" for name, _ in asked):
        return status, headers, content
    if not _is_all([value for name, value in headers if name == b"content-range"], received):
        raise UpstreamProtocolError("The service's answer is a part that was not asked for.")
    return 200, [line for line in headers if line[0] != b"content-range"], content


def _is_all(content_range: list[bytes], received: int) -> bool:
    """Whether a part from the first byte to the last came whole (RFC 9110 §14.4)."""
    found = ALL_OF_IT.fullmatch(content_range[0].strip()) if len(content_range) == 1 else None
    return found is not None and int(found[1]) + 1 == int(found[2]) == received
