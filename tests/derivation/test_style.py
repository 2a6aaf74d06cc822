"""A style is learned from bytes, and writes only what those leave no doubt about."""

from __future__ import annotations

import pytest

from gateway.derivation.from_rankings import OVERVIEW
from gateway.derivation.style import TIMELINE, TOP, TOTAL, Layout


def repr_of(value: object) -> str:
    """A name for a case, the same in every process."""
    return value.wrapper or "flat" if isinstance(value, Layout) else repr(value)[:40]


@pytest.mark.parametrize(
    ("layout", "body"),
    [
        (TOTAL, b'{"totals": 231}'),
        (TOTAL, b'{"totals":0}\n'),
        (TOTAL, b'{"totals": null}'),
        (TIMELINE, b'{"timeline": {"2014-01": 3, "2014-02": 5}}'),
        (TIMELINE, b'{"timeline":{"2014-02":5,"2014-01":3}}'),
        (TIMELINE, b'{"timeline": null}'),
        (TOP, b'{"top": {"2": 9, "1": 7}}\n'),
        (OVERVIEW, b'{"shares": 0, "views": 2, "downloads": 1}'),
    ],
    ids=repr_of,
)
def test_what_is_read_is_written_again(layout: Layout, body: bytes) -> None:
    styles, numbers = layout.learned(None, body), layout.read(body)
    assert numbers is not None
    assert styles
    assert layout.written(styles, numbers) == body


@pytest.mark.parametrize(
    ("layout", "body"),
    [
        (TOTAL, b'{"totals":  231}'),
        (TOTAL, b'{"totals": 2e2}'),
        (TOTAL, b'{"totals": 231, "cites": 1}'),
        (TOTAL, b'{"totals": 1, "totals": 2}'),
        (TOTAL, b'{"totals": -1}'),
        (TOTAL, b"null"),
        (TIMELINE, b'{"timeline": {"2014-02": 5, "2014-03": 1, "2014-01": 3}}'),
        (TIMELINE, b'{"timeline": {"2014-01": 3}, "more": null}'),
        (TOP, b'{"2": 9, "1": 7}'),
        (OVERVIEW, b'{"views": 2, "downloads": 1, "cites": 0, "shares": 0}'),
        (TOTAL, b"[" * 5_000),
        (TOTAL, b"\xff"),
    ],
    ids=repr_of,
)
def test_what_would_not_be_written_again_teaches_no_style(layout: Layout, body: bytes) -> None:
    assert layout.learned(None, body) == ()


def test_an_order_that_was_not_seen_yet_is_not_guessed() -> None:
    styles = TIMELINE.learned(None, b'{"timeline": {"2014-01": 7}}')
    assert TIMELINE.written(styles, {"2014-02": 1}) == b'{"timeline": {"2014-02": 1}}'
    assert TIMELINE.written(styles, {"2014-01": 1, "2014-02": 1}) is None
    assert TIMELINE.written(styles, {}) is None
    styles = TIMELINE.learned(styles, b'{"timeline": {"2014-02": 1, "2014-01": 7}}')
    assert TIMELINE.written(styles, {"2014-01": 1, "2014-02": 1}) == b'{"timeline": {"2014-02": 1, "2014-01": 1}}'
    styles = TIMELINE.learned(styles, b'{"timeline": {}}')
    assert TIMELINE.written(styles, {}) == b'{"timeline": {}}'


def test_an_answer_in_another_style_leaves_none() -> None:
    styles = TIMELINE.learned(None, b'{"timeline": {"2014-01": 7, "2014-02": 1}}')
    assert TIMELINE.learned(styles, b'{"timeline": {"2014-02": 1, "2014-01": 7}}') == ()
    assert TIMELINE.written((), {"2014-01": 1}) is None
