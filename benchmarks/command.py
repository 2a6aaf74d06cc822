"""Command: what the benchmarks' command lines share: how words are read, results shown, and how it all ends."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from benchmarks.results import Results, as_text, cells, ratio_cells


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads comma-separated names out of those."""

    def read(text: str) -> list[str]:
        given = [word.strip() for word in text.split(",") if word.strip()]
        if unknown := [word for word in given if word not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return given

    return read


def numbers(text: str) -> list[int]:
    """Reads comma-separated numbers from 1 on."""
    try:
        given = [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None
    if min(given) < 1:
        raise argparse.ArgumentTypeError("numbers begin at 1")
    return given


def positive(kind: type[Any]) -> Callable[[str], Any]:
    """Reads one number above zero."""

    def read(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not 0 < number < 10**9:
            raise argparse.ArgumentTypeError("must be above 0")
        return number

    return read


def show(results: Results) -> None:
    """Prints all tables."""
    for table in results.tables:
        print(f"{table.title}\n\n{as_text(cells(table))}")
        for row in table.rows:
            if row.note:
                print(f"  {row.contender} {row.case}: {row.note}")
        print()
    if results.ratios:
        print(f"Ratios\n\n{as_text(ratio_cells(results.ratios))}")


def end(*_: object) -> NoReturn:
    """SIGTERM ends as Ctrl-C does: what was started is ended first."""
    raise KeyboardInterrupt
