"""Configuration files with a few words left open, and what is put in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

FOLDER = Path(__file__).parent
PLACE = re.compile(r"@(?:(?P<name>\w+)@|@)")


def filled(template: str, words: Mapping[str, object]) -> str:
    """The file of that name, each ``@name@`` replaced, ``@@`` by ``@``. Raises KeyError for an unknown name."""

    def word(found: re.Match[str]) -> str:
        return str(words[found["name"]]) if found["name"] else "@"

    return PLACE.sub(word, (FOLDER / template).read_text())


def dates_before(day: date) -> str:
    """A regular expression for the ISO dates before a day, back to the year 2000."""
    year, month, number = day.year, day.month, day.day
    alternatives = [_below(year, first=2000, digits=4) + r"-\d\d-\d\d"]
    if month > 1:
        alternatives.append(f"{year}-{_below(month)}-\\d\\d")
    if number > 1:
        alternatives.append(f"{year}-{month:02}-{_below(number)}")
    return "|".join(alternatives)


def settled(today: date) -> str:
    """A regular expression for the last days of windows that have settled: two whole days are over since."""
    return dates_before(today - timedelta(days=2))


def _below(number: int, first: int = 1, digits: int = 2) -> str:
    """One of the numbers below it, written out: regular expressions do not count."""
    return "(?:" + "|".join(f"{each:0{digits}}" for each in range(first, number)) + ")"
