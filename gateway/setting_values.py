"""Setting values: texts as people, files and mounted secrets give them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr


def words(value: Any) -> Any:
    """A comma- or space-separated string as a list, so that one environment variable can hold several."""
    return re.split(r"[,\s]+", value.strip()) if isinstance(value, str) and value.strip() else value or ()


def stripped(value: Any) -> Any:
    """A value without white space around any of its texts."""
    match value:
        case str():
            return value.strip()
        case SecretStr():
            return SecretStr(value.get_secret_value().strip())
        case Mapping():
            return {name: stripped(each) for name, each in value.items()}
        case list() | tuple():
            return [stripped(each) for each in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """All texts in a value."""
    match value:
        case str():
            yield value
        case SecretStr():
            yield value.get_secret_value()
        case Mapping():
            for name, each in value.items():
                yield name
                yield from texts(each)
        case list() | tuple():
            for each in value:
                yield from texts(each)


def one_word(value: str) -> str:
    """A text as it is. Raises ValueError for one with white space in it."""
    if re.search(r"\s", value):
        raise ValueError("must not have white space in it")
    return value
