"""Rendering: the templates' environment, and how numbers and times read. Pure but for loading the templates."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """The templates, which escape whatever they are given."""
    found = Environment(
        loader=PackageLoader("gateway.console.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(count=count)
    return found


def count(number: float | None) -> str:
    """A whole number with its thousands apart: 12,345."""
    return "–" if number is None else f"{number:,.0f}"
