"""How values are told to people."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.screen import aligned, plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"), (False, "no"), (None, "none"), ("", "none"), ([], "none"), ({}, "none"), (0, "0"),
        (1.5, "1.5"), ("a b", "a b"), (["zstd", "gzip"], "zstd gzip"), ({"a": 60, "b": True}, "a=60 b=yes"),
    ],
)  # fmt: skip
def test_values_out_of_json_are_told_in_plain_words(value: Any, text: str) -> None:
    assert plain(value) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned(["A", "B"], [["long", "x"], ["-", "y"]]) == "A     B\nlong  x\n-     y"
