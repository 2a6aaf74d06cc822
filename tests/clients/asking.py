"""Asking: one request as a program writes it down, what comes back, and who can send it."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from urllib.parse import quote

Pairs = tuple[tuple[str, str], ...]


class How(StrEnum):
    """What is particular about the way in which a request is sent, where anything is."""

    PLAINLY = "plainly"
    CODED = "asking for every coding it can read"
    IN_A_SESSION = "one after another, in one session"
    AT_ONCE = "at the same time, in one session"
    WITH_EMPTY_CHUNKS = "with content of unknown length, which is empty"
    EXPECTING = "expecting 100 Continue"
    BY_HAND = "with headers that most libraries keep to themselves"
    IN_HTTP_1_0 = "in HTTP/1.0"
    UPGRADING = "wishing for HTTP/2"
    HALF_CLOSED = "ending its side of the connection"
    PIPELINED = "one before the last was answered"


class Place(StrEnum):
    """Where a client takes Basic credentials, if not in a header that the program makes."""

    OPTION = "an option of its own"
    URL = "the URL"
    CHALLENGE = "an option, but sent only once it is challenged"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. ``{n}`` in it stands for a number. The client encodes the ``parameters`` in its own way; ``user``
    are Basic credentials, which it takes in a ``place``. In a session, say, it is sent several ``times``."""

    target: str
    parameters: Pairs = ()
    headers: Pairs = ()
    method: str = "GET"
    content: bytes | None = None
    how: How = How.PLAINLY
    times: int = 1
    user: tuple[str, str] | None = None
    place: Place = Place.OPTION

    def numbered(self, number: int) -> Ask:
        """The same with a number in it, so that no two are alike."""
        n = str(number)
        return replace(
            self,
            target=self.target.replace("{n}", n),
            parameters=tuple((name, value.replace("{n}", n)) for name, value in self.parameters),
            content=None if self.content is None else self.content.replace(b"{n}", n.encode()),
        )

    def url(self, base: str) -> str:
        """Where to ask, at a server's base URL."""
        if self.user is None or self.place is not Place.URL:
            return base + self.target
        scheme, _, host = base.partition("://")
        name, password = (quote(part, safe="") for part in self.user)
        return f"{scheme}://{name}:{password}@{host}{self.target}"

    @property
    def option(self) -> tuple[str, str] | None:
        """The credentials for the client's own option."""
        return self.user if self.place is Place.OPTION else None

    def with_header(self, name: str, value: str) -> Ask:
        return replace(self, headers=(*self.headers, (name, value)))

    def with_basic(self, name: bytes, password: str) -> Ask:
        """With Basic credentials in a header that the program makes."""
        return self.with_header("Authorization", f"Basic {b64encode(name + b':' + password.encode()).decode()}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client hands its program: names in lower case, the content decoded."""

    status: int
    headers: Pairs
    body: bytes

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str] | list[tuple[str, str]], body: bytes) -> Answer:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        return cls(status, tuple((name.lower(), value) for name, value in pairs), body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def without(self, names: frozenset[str]) -> tuple[int, Pairs, bytes]:
        """All of it but these headers."""
        return self.status, tuple(sorted(pair for pair in self.headers if pair[0] not in names)), self.body


@dataclass(frozen=True)
class Client:
    """A program or library that sends requests: to a server's base URL, with all answers in return.

    ``can`` says what it can do besides the plain; ``takes`` where it has a place for credentials. ``missing``
    says why it cannot be had here, if so; ``ours`` that CI has to have it.
    """

    name: str
    ask: Callable[[str, Ask], list[Answer]]
    can: frozenset[How] = frozenset()
    takes: frozenset[Place] = frozenset()
    missing: Callable[[], str] = lambda: ""
    ours: bool = True
    close: Callable[[], None] = field(default=lambda: None)

    def __str__(self) -> str:
        return self.name


def program(name: str) -> Callable[[], str]:
    """Why a program cannot be had here."""
    return lambda: "" if shutil.which(name) else f"{name} is not installed"


def nothing() -> Iterator[bytes]:
    """Content of unknown length, which is empty."""
    yield from ()
