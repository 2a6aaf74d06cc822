"""Telling: header lines as programs and people read them. Pure."""

from __future__ import annotations

from gateway.errors import Headers


def told_headers(headers: Headers) -> dict[str, str]:
    """Header lines by name; those of one name are joined (RFC 9110 §5.3)."""
    told: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        told[name] = f"{told[name]}, {value}" if name in told else value
    return told
