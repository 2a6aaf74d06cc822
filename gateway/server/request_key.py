"""Request keys: the part of a request that decides which prepared answer it gets, ahead of the proxy. Pure.

The answer to a known query depends on its method and target, on who asks, and on the few headers that are named
here. Any other header is inert: browsers, proxies and tracers send dozens, with other values each time. One
regular expression reads a whole head: it proves that the head is well formed (RFC 9112 §2.2, §3, §5), skips what
is inert, and takes out what counts. What it does not match is left to the parser and the proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from gateway.proxy.callers import CHAIN, FORWARDED, NAMING, TRACES
from gateway.proxy.delivery import HEEDED
from gateway.proxy.methods import READS
from gateway.proxy.request import REQUEST_ID, target_of
from gateway.proxy.response import KEYED

ASKING = (b"host", b"accept-encoding", b"if-none-match", b"if-modified-since", b"origin")
"""Headers that decide what is answered, beside method and target."""
BESIDE = (b"x-request-id", b"traceparent")
"""Headers that change nothing but the response's request id, and whether the request is traced."""
FRAMING = frozenset({b"transfer-encoding", b"content-length", b"upgrade", b"expect", b"proxy-connection"})
"""Headers that announce a body, or another use of the connection."""
WISHES = frozenset({b"cache-control", b"pragma"})
"""Headers that may ask for fresher data (RFC 9111 §5.2.1, §5.4)."""
CONNECTION, PERSISTENT = b"connection", b"keep-alive"
"""The header of which one value alone changes nothing."""
DECLINED = (HEEDED | WISHES | FRAMING).difference(ASKING)
"""Headers of requests that always go to the proxy."""
TAKEN = (*ASKING, *KEYED, *BESIDE)
COUNTED = DECLINED | {*TAKEN, CONNECTION}
"""Every header that counts, wherever a request has a key; all others are inert then."""
LOCATING = TRACES | NAMING | {CHAIN, b"sec-fetch-site"}
"""Headers that say who makes a request without a key, beside those that begin with ``FORWARDED``."""

Question = tuple[bytes | None, ...]
"""Method, target, and the values of ASKING; None for a header that is not there."""
Identity = tuple[Any, ...]
"""The values of KEYED; without a key the peer's address, as text, and all that may say for whom it asks."""
Values = tuple[bytes | Any, ...]
"""Method, target, and the values of TAKEN; None for a header that is not there."""
RequestKey = tuple[Question, Identity, bytes | None, bytes | None]
"""What is asked, who asks, and the values of BESIDE. A plain tuple, since each hit makes one."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_VALUE = rb"[\t -~\x80-\xff]*+"
_ASKED = 2 + len(ASKING)


def _spelt(name: bytes) -> bytes:
    """A pattern for a name in any case: sets of characters, among which ``re`` chooses without trying each."""
    return b"".join(
        b"[%c%c]" % (letter, letter - 32) if 97 <= letter <= 122 else re.escape(bytes([letter])) for letter in name
    )


def _any_of(names: Iterable[bytes]) -> bytes:
    """A pattern for one of these names, which reads on only in those that begin with the right letter."""
    rests: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        rests.setdefault(name[:1], []).append(_spelt(name[1:]))
    return b"|".join(_spelt(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in rests.items())


def value_of(name: bytes) -> bytes:
    """A pattern for what may follow a name in lower case, its colon and blanks; a group if the value is taken."""
    if name == CONNECTION:
        return rb"%s(?=\r\n)" % _spelt(PERSISTENT)
    if name not in TAKEN:
        return _VALUE
    return rb"(%s)(?=\r\n)" % (REQUEST_ID.pattern if name == b"x-request-id" else _VALUE)


def _taken(group: int, name: bytes) -> bytes:
    """A pattern that takes a header's value into a group, and fails for a second header of that name."""
    return rb"%s:(?(%d)(?!))[ \t]*+%s" % (_spelt(name), group, value_of(name))


def _unlike(prefix: bytes) -> bytes:
    """A pattern for how names begin that start with ``prefix`` and go on like none that counts."""
    following = {name[len(prefix)] for name in COUNTED if name.startswith(prefix)}
    others = bytes({*range(97, 123)} - following)
    return b"%s[%s%s]" % (_spelt(prefix), others, others.upper())


_LINES = [  # the first two match what others would, but sooner
    *(rb"%s%s*+:%s" % (_unlike(prefix), _TOKEN, _VALUE) for prefix in (b"", b"x-")),
    *(_taken(group, name) for group, name in enumerate(TAKEN, 3)),
    rb"%s:[ \t]*+%s" % (_spelt(CONNECTION), value_of(CONNECTION)),
    rb"(?!(?:%s):)%s++:%s" % (_any_of(COUNTED), _TOKEN, _VALUE),
]
REQUEST_LINE = rb'(GET|HEAD) (/[!"$-~]*+) HTTP/1\.1'
HEAD = re.compile(rb"%s(?:\r\n(?:%s))*+\r\n\r\n" % (REQUEST_LINE, b"|".join(_LINES)))
LOCATING_NAMES = re.compile(rb"%s%s*+|(?:%s)" % (_spelt(FORWARDED), _TOKEN, _any_of(LOCATING)))
_LOCATING = re.compile(rb"\r\n(%s%s*+|(?:%s)(?=:)):(%s)" % (_spelt(FORWARDED), _TOKEN, _any_of(LOCATING), _VALUE))


def key_of_head(head: bytes, peer: str, *, exact: bool) -> RequestKey | None:
    """The key of a request by its whole head as received, from the address ``peer``; None where only the proxy can
    tell. ``exact``: no header is inert."""
    found = HEAD.fullmatch(head)
    return None if found is None else key_of_values(found.groups(), head, peer, exact=exact)


def key_of_values(values: Values, head: bytes, peer: str, *, exact: bool, locates: bool = True) -> RequestKey:
    """The same by what HEAD took out of the head; without ``locates`` nothing else in it says who asks."""
    if exact:
        return (head,), (), values[-2], values[-1]
    identity: Identity = values[_ASKED:-2]
    if identity == NO_KEY:
        located = _LOCATING.findall(head) if locates else ()
        identity = (peer, values[2], values[_ASKED - 1], *located)
    return values[:_ASKED], identity, values[-2], values[-1]


def key_of_scope(scope: Mapping[str, Any], *, exact: bool) -> RequestKey | None:
    """The same for a request that another server has read."""
    if scope["http_version"] != "1.1" or scope["method"] not in READS:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in COUNTED:
            if name in found or name in DECLINED or (name == CONNECTION and value.lower() != PERSISTENT):
                return None
            found[name] = value
    request_id, trace = map(found.get, BESIDE)
    if request_id is not None and not REQUEST_ID.fullmatch(request_id):
        return None
    target = scope["method"].encode(), target_of(scope)
    if exact:
        return (*target, *chain.from_iterable(scope["headers"])), (), request_id, trace
    identity: Identity = tuple(map(found.get, KEYED))
    if identity == NO_KEY:
        peer = (scope.get("client") or ("",))[0]
        identity = (peer, found.get(b"host"), found.get(b"origin"), *filter(_is_locating, scope["headers"]))
    return (*target, *map(found.get, ASKING)), identity, request_id, trace


NO_KEY: Identity = (None,) * len(KEYED)


def has_key(identity: Identity) -> bool:
    """Whether a key says who asks, wherever the request comes from."""
    return identity[:1] == () or not isinstance(identity[0], str)


def _is_locating(header: tuple[bytes, bytes]) -> bool:
    return header[0] in LOCATING or header[0].startswith(FORWARDED)
