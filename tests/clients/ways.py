"""Ways: how a key is sent. Of Basic credentials the username does not matter, whatever it is written in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.clients.asking import Ask, Place


@dataclass(frozen=True)
class Way:
    """Adds a key to a request; where the client makes the header itself, ``place`` says what it is given to.
    Without a key the caller is known by its network."""

    add: Callable[[Ask, str], Ask]
    place: Place | None = None
    by_network: bool = False


def _header(name: str, before: str = "") -> Way:
    return Way(lambda ask, key: ask.with_header(name, before + key))


def _basic(username: bytes) -> Way:
    return Way(lambda ask, key: ask.with_basic(username, key))


def _client(place: Place, username: str = "lboro") -> Way:
    return Way(lambda ask, key: replace(ask, user=(username, key), place=place), place)


def _in_another_case(ask: Ask, key: str) -> Ask:
    *_, (_, value) = ask.with_basic(b"lboro", key).headers
    return ask.with_header("authorization", value.replace("Basic", "bASIC"))


def _by_shell(ask: Ask, key: str) -> Ask:
    """As shell scripts make the header: ``base64`` breaks lines that are longer than 76 columns."""
    words = ["sh", "-c", "printf 'lboro:%s' \"$1\" | base64", "sh", key]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    return ask.with_header("Authorization", f"Basic {done.stdout.removesuffix(chr(10))}")


WAYS: Mapping[str, Way] = {
    "X-API-Key": _header("X-API-Key"),
    "Bearer": _header("Authorization", "Bearer "),
    "token": _header("Authorization", "token "),
    "X-API-Key and Basic": Way(lambda ask, key: ask.with_header("X-API-Key", key).with_basic(b"lboro", key)),
    "Basic by hand": _basic(b"lboro"),
    "Basic by a shell": Way(_by_shell),
    "Basic in another case": Way(_in_another_case),
    "Basic without a username": _basic(b""),
    "Basic of Jose in Latin-1": _basic("José".encode("latin-1")),
    "Basic of Jose in UTF-8": _basic("José".encode()),
    "option": _client(Place.OPTION),
    "option of Jose": _client(Place.OPTION, "José"),
    "URL": _client(Place.URL),
    "URL of Jose": _client(Place.URL, "José a@b"),
    "challenge": _client(Place.CHALLENGE),
    "its network": Way(lambda ask, key: ask, by_network=True),
}
"""All of them, by name."""
