"""Parts: they are cut from the whole, and one that the origin gives unasked is kept for nobody (RFC 9111 §3.3)."""

from __future__ import annotations

import pytest

from tests.http_rules.origin import BODY, Origin, said
from tests.http_rules.rig import Gateway

FRESH, TAG = "Cache-Control: max-age=60", 'ETag: "v1"'
END, LENGTH = len(BODY) - 1, len(BODY)


@pytest.mark.parametrize(
    "field",
    [
        f"Content-Range: bytes 1-{LENGTH}/{LENGTH + 1}",
        f"Content-Range: bytes 0-{END}/{LENGTH + 1}",
        f"Content-Range: bytes 0-{END}/*",
        f"Content-Range: bytes 0-{END + 1}/{LENGTH + 1}",
        f"Content-Range: items 0-{END}/{LENGTH}",
        "Content-Type: multipart/byteranges; boundary=x",
    ],
)
def test_rfc9111_3_3_an_incomplete_206_is_kept_for_nobody(
    gateway: Gateway, origin: Origin, path: str, field: str
) -> None:
    origin.on(path, said(FRESH, TAG, field, status=206))
    assert not any(gateway.ask(path).hit for _ in range(2))
    assert origin.calls(path) == 2


def test_rfc9110_14_2_ranges_are_cut_from_one_whole_answer(gateway: Gateway, origin: Origin, path: str) -> None:
    origin.on(path, said(FRESH, TAG))
    parts = [gateway.ask(path, f"Range: bytes={at}-{at + 1}") for at in range(0, LENGTH, 2)]
    assert [(part.status, part.body) for part in parts] == [(206, BODY[at : at + 2]) for at in range(0, LENGTH, 2)]
    assert (origin.calls(path), origin.asked(path)[0].all("range")) == (1, [])
