"""Request targets: refused where they can be read in more than one way. Pure.

The gateway sends targets upstream exactly as they were written. A target that it and the service read differently
would let a caller ask for one thing and be authorised for another.
"""

from __future__ import annotations

import re
from typing import NoReturn
from urllib.parse import unquote_to_bytes, urlsplit

from gateway.errors import BadTarget, InvalidInput, TargetTooLong

_PCHAR = rb"A-Za-z0-9\-._~!$&'()*+,;=:@"
_PATH_CHAR = _PCHAR + rb"\[\]^`{|}"  # the last few are what the URL Standard leaves bare besides
_QUERY_CHAR = _PATH_CHAR + rb"/?"

_DOTS = rb"\.\.?(?:[/;]|%3[Bb]|\Z)"  # some servers cut a segment at its semicolon, so that "..;" climbs too

_PLAIN_PATH = re.compile(rb"(?:/(?!" + _DOTS + rb")[" + _PATH_CHAR + rb"]++)*+/?")
_PLAIN_QUERY = re.compile(rb"[" + _QUERY_CHAR + rb"]*+")

ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)", re.DOTALL)
"""A target in absolute form: its scheme, its authority, and the rest."""
DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

_Rules = tuple[tuple[re.Pattern[bytes], str], ...]

_BYTES: _Rules = (
    (re.compile(rb"[\x00-\x1f\x7f]"), "a control character"),
    (re.compile(rb" "), "a space; write %20"),
    (re.compile(rb"[\x80-\xff]"), "a byte outside ASCII; write it percent-encoded, as UTF-8"),
    (re.compile(rb"\\"), "a backslash"),
    (re.compile(rb"%(?![0-9A-Fa-f]{2})"), "a percent sign without two hexadecimal digits; write %25"),
    (
        re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff]|[Cc]2%[89][0-9A-Fa-f])"),
        "a percent-encoded control character",
    ),
)

_PATH_RULES: _Rules = (
    (re.compile(rb"\A(?!/)"), "no slash; it must begin with one"),
    *_BYTES,
    (re.compile(rb"[^" + _PATH_CHAR + rb"/%]"), "a character that must be percent-encoded"),
    (re.compile(rb"%2[Ff]"), "an encoded slash (%2F)"),
    (re.compile(rb"%5[Cc]"), "an encoded backslash (%5C)"),
    (re.compile(rb"%2[Ee]"), "an encoded dot (%2E); write the dot itself"),
    (re.compile(rb"//"), "an empty segment (//)"),
    (re.compile(rb"/" + _DOTS), "a '.' or '..' segment"),
)

_QUERY_RULES: _Rules = (
    *_BYTES,
    (re.compile(rb"[^" + _QUERY_CHAR + rb"%]"), "a character that must be percent-encoded"),
)


def check_target(raw_path: bytes, raw_query: bytes, max_bytes: int) -> None:
    """Passes a target that has one reading, in the allowed bytes of RFC 3986 §3.3 and §3.4, and what the URL
    Standard (§1.3) leaves bare besides.

    ``raw_path`` and ``raw_query`` are as the client wrote them, without the ``?`` between; together with it
    they may take ``max_bytes``. Raises TargetTooLong, and BadTarget, whose message names the rule and the place:
    control characters and other bytes that no URI holds, raw or encoded; encodings that are not hexadecimal or not
    UTF-8; in the path also ``.`` and ``..``, empty segments, and encoded dots, slashes and backslashes.
    A single slash may end the path.
    """
    length = len(raw_path) + len(raw_query) + bool(raw_query)
    if length > max_bytes:
        raise TargetTooLong(f"The request target is {length} bytes long; at most {max_bytes} are accepted")
    if not raw_path or not _PLAIN_PATH.fullmatch(raw_path):
        _examine("path", raw_path, _PATH_RULES)
    if not _PLAIN_QUERY.fullmatch(raw_query):
        _examine("query", raw_query, _QUERY_RULES)


def path_of(target: bytes) -> bytes:
    """The path of a target in origin or absolute form, whatever the authority (RFC 9112 §3.2)."""
    found = None if target.startswith(b"/") else ABSOLUTE.fullmatch(target)
    return (target if found is None else found[3]).partition(b"?")[0]


def parted(target: bytes) -> tuple[bytes, bytes, bool]:
    """The path, the query, and whether there is a ``?``: an empty query differs from none (RFC 3986 §3.4)."""
    path, mark, query = target.partition(b"?")
    return path, query, bool(mark)


def canonical_authority(scheme: bytes, authority: bytes) -> bytes:
    """An authority in lower case, without its scheme's default port or an empty one (RFC 9110 §4.2.3)."""
    return authority.lower().removesuffix(b":").removesuffix(DEFAULT_PORTS.get(scheme, b":"))


def _examine(part: str, raw: bytes, rules: _Rules) -> None:
    for pattern, problem in rules:
        found = pattern.search(raw)
        if found is not None:
            _refuse(part, problem, found.start())
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        _refuse(part, "percent-encoded bytes that are not UTF-8", raw.index(b"%"))


def _refuse(part: str, problem: str, position: int) -> NoReturn:
    raise BadTarget(
        f"The request target is malformed: its {part} has {problem} (at byte {position} of the {part})"
    )


def pasted_target(text: str) -> bytes:
    """The request target in a pasted path or URL, without its fragment. Raises InvalidInput for anything else."""
    if "://" in text:
        try:
            parts = urlsplit(text)
        except ValueError:
            raise InvalidInput("This is no URL") from None
        marked = parts.query or text.partition("#")[0].endswith("?")
        text = (parts.path or "/") + (f"?{parts.query}" if marked else "")
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInput("A path begins with / and holds no spaces; other characters are percent-encoded")
    path, mark, query = text.partition("?")
    return (path + mark + query.partition("#")[0]).encode()
