"""Numbers, values and tables as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli.format import ago, aligned, count, rate, share, span, value_text
from gateway.cli.screen import sparkline


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (count(0), "0"),
        (count(1_234_567), "1,234,567"),
        (count(12_345_678), "12.3 M"),
        (rate(0), "0.00/s"),
        (rate(0.25), "0.25/s"),
        (rate(12.54), "12.5/s"),
        (rate(1_234.5), "1,234/s"),
        (share(0, 0), "-"),
        (share(0, 5), "0 %"),
        (share(5, 5), "100 %"),
        (share(7, 8), "87.5 %"),
        (share(1, 10_000_000), "<0.1 %"),
        (share(9_999_999, 10_000_000), "99.9 %"),
        (span(0), "0 µs"),
        (span(0.000_412_3), "412 µs"),
        (span(0.000_412_3, plain=True), "412 us"),
        (span(0.000_999_9), "1 ms"),
        (span(0.0125), "12.5 ms"),
        (span(0.9999), "1 s"),
        (span(30), "30 s"),
        (ago(45.4), "45 s"),
        (ago(720), "12 min"),
        (ago(36_000), "10 h"),
    ],
)
def test_figures(told: str, expected: str) -> None:
    assert told == expected


def test_a_sparkline_has_one_bar_a_value_and_shows_that_something_is_not_nothing() -> None:
    assert sparkline([None, 0, 1, 500, 1_000, 2_000], 1_000) == " ▁▂▅██"
    assert sparkline([None, 0, 1, 500, 1_000, 2_000], 1_000, plain=True) == " _.=##"
    assert sparkline([0, 0], 0) == "▁▁"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"), (False, "no"), (None, "none"), ("", "none"), ([], "none"), ({}, "none"), (0, "0"),
        (1.5, "1.5"), ("a b", "a b"), (["zstd", "gzip"], "zstd gzip"), ({"a": 60, "b": True}, "a=60 b=yes"),
    ],
)  # fmt: skip
def test_values_out_of_json_are_told_in_plain_words(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned(["A", "B"], [["long", "x"], ["-", "y"]]) == "A     B\nlong  x\n-     y"
