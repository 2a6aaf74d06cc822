"""Rows for people: plain aligned columns, which also pipe well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head and its rows as lines whose columns are as wide as their widest cell."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plain(value: Any) -> str:
    """A value out of JSON as people read it on one line."""
    match value:
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(plain, value)) or "none"
        case dict():
            return " ".join(f"{name}={plain(each)}" for name, each in value.items()) or "none"
        case None | "":
            return "none"
    return str(value)
