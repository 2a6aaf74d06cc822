"""Layouts: the names of a head's headers in their order. Heads of one layout are read by an expression of its own.

A client's requests differ in what their headers say, seldom in which they are. The expression for any head
(``request_key.py``) tries each line against many names. One that knows the names goes straight through, and takes
a third of the time. It is made of the same parts, so it matches no head that the other does not, and takes the
same values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.server.request_key import CONNECTION, HEAD, LOCATING_NAMES, REQUEST_LINE, TAKEN, Values, value_of

MOST = 8
"""Layouts that are kept: trying one that does not match costs a fifth of a microsecond."""
EVERY = 32
"""One of so many heads of no known layout is looked at, and its layout learnt where it was the last one's too:
making an expression costs as much as answering a hundred requests."""
LONGEST, MOST_LINES = 600, 40
"""Bytes of the names, and number of the lines, of a layout that is worth an expression."""


class Layout:
    """``names`` as they are spelt. What ``match`` finds in a head has the values that HEAD takes in the groups of
    this ``order``. ``locates`` says that one of the names may tell who asks without a key."""

    __slots__ = ("locates", "match", "names", "order")

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = tuple(names)
        lower = [name.lower() for name in names]
        taken = [name for name in lower if name in TAKEN]
        absent = 3 + len(taken)
        groups = [3 + taken.index(name) if name in taken else absent for name in TAKEN]
        self.order = (1, 2, *groups)
        lines = [_line(*pair) for pair in zip(names, lower, strict=True)]
        self.match = re.compile(rb"%s\r\n%s\r\n\r\n((?!))?" % (REQUEST_LINE, b"\r\n".join(lines))).fullmatch
        self.locates = any(LOCATING_NAMES.fullmatch(name) for name in lower)

    def __repr__(self) -> str:
        return f"<Layout {b' '.join(self.names).decode()}>"


class Layouts:
    """The layouts of late, the one that matched last first."""

    def __init__(self) -> None:
        self.known: list[Layout] = []
        self._others = 0
        self._seen: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<Layouts {len(self.known)} known>"

    def values(self, head: bytes) -> tuple[Values, bool] | None:
        """What HEAD takes out of a head, and whether something in it may tell who asks without a key; None where
        HEAD does not match."""
        for layout in self.known:
            found = layout.match(head)
            if found is not None:
                if layout is not self.known[0]:
                    self._put_first(layout)
                return found.group(*layout.order), layout.locates
        found = HEAD.fullmatch(head)
        if found is None:
            return None
        self._others += 1
        if self._others % EVERY == 0:
            self._look_at(head)
        return found.groups(), True

    def _look_at(self, head: bytes) -> None:
        """Learn the layout of a well-formed head, if it was the last one's too."""
        names = tuple(line.partition(b":")[0] for line in head[:-4].split(b"\r\n")[1:])
        if names == self._seen and 0 < len(names) <= MOST_LINES and sum(map(len, names)) <= LONGEST:
            self._put_first(Layout(names))
        self._seen = names

    def _put_first(self, layout: Layout) -> None:
        self.known = [layout, *(each for each in self.known if each is not layout)][:MOST]


def _line(name: bytes, lower: bytes) -> bytes:
    """A pattern for a line with this name; a value that counts is a group."""
    if lower in TAKEN or lower == CONNECTION:
        return rb"%s:[ \t]*+%s" % (re.escape(name), value_of(lower))
    return rb"%s:%s" % (re.escape(name), value_of(lower))
