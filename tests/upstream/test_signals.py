"""What a call says about a block."""

from __future__ import annotations

import pytest

from gateway.cache.control import LONGEST
from gateway.errors import UpstreamDisconnected, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.credential_breaker import (
    ANSWERED,
    FAILED,
    LIMITED,
    NOTHING,
    REFUSED,
    RESET,
    Signal,
    SignalKind,
    retry_after,
    signal_of,
    signal_of_error,
)

HTML = b"text/html"
NOW = 784_111_777.0
"""Sun, 06 Nov 1994 08:49:37 GMT"""


@pytest.mark.parametrize(
    ("status", "speaks", "sign"),
    [
        pytest.param(429, True, LIMITED, id="rfc6585-4-429"),
        pytest.param(429, False, LIMITED, id="429-of-somebody-else"),
        pytest.param(403, False, REFUSED, id="403-of-somebody-else"),
        pytest.param(503, False, REFUSED, id="503-of-somebody-else"),
        pytest.param(403, True, ANSWERED, id="403-is-about-the-credential"),
        pytest.param(503, True, FAILED, id="503"),
        pytest.param(500, True, FAILED, id="500"),
        pytest.param(500, False, FAILED, id="500-of-somebody-else"),
        pytest.param(502, False, FAILED, id="502-of-somebody-else"),
        pytest.param(404, True, ANSWERED, id="404"),
        pytest.param(404, False, FAILED, id="404-of-somebody-else"),
        pytest.param(200, True, ANSWERED, id="200"),
        pytest.param(200, False, FAILED, id="200-of-somebody-else"),
        pytest.param(304, True, ANSWERED, id="304"),
    ],
)
def test_a_sign_depends_on_status_and_on_who_speaks(status: int, speaks: bool, sign: Signal) -> None:
    assert signal_of(status, [], NOW, speaks=speaks) == sign


def test_a_block_says_how_long() -> None:
    headers = [(b"content-type", HTML), (b"retry-after", b"7")]
    assert signal_of(503, headers, NOW, speaks=False) == Signal(SignalKind.REFUSED, 7.0)
    assert signal_of(403, headers, NOW, speaks=False) == Signal(SignalKind.REFUSED, 7.0)
    assert signal_of(429, headers, NOW, speaks=True) == Signal(SignalKind.LIMITED, 7.0)
    assert signal_of(500, headers, NOW, speaks=False) == FAILED


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        pytest.param([b"120"], 120.0, id="delay"),
        pytest.param([b" 120 "], 120.0, id="spaces"),
        pytest.param([b"0"], 0.0, id="none-left"),
        pytest.param([b"Sun, 06 Nov 1994 08:50:37 GMT"], 60.0, id="date"),
        pytest.param([b"Sunday, 06-Nov-94 08:50:37 GMT"], 60.0, id="date-rfc850"),
        pytest.param([b"Sun Nov  6 08:50:37 1994"], 60.0, id="date-asctime"),
        pytest.param([b"Sun, 06 Nov 1994 08:49:00 GMT"], 0.0, id="date-past"),
        pytest.param([b"soon"], None, id="word"),
        pytest.param([b"-5"], None, id="negative"),
        pytest.param([b"1.5"], None, id="fraction"),
        pytest.param([b""], None, id="empty"),
        pytest.param([b"12345678901234567890"], LONGEST, id="twenty-digits"),
        pytest.param([b"9" * 5_000], LONGEST, id="endless"),
        pytest.param([b"0" * 30 + b"7"], 7.0, id="leading-zeros"),
        pytest.param([b"Sun, 99 Nov 1994 08:49:37 GMT"], None, id="no-such-day"),
        pytest.param([b"\xff\xfe"], None, id="not-ascii"),
        pytest.param([b"5", b"9"], None, id="several"),
        pytest.param([], None, id="absent"),
    ],
)
def test_rfc9110_10_2_3_retry_after(values: list[bytes], seconds: float | None) -> None:
    assert retry_after([(b"retry-after", value) for value in values], NOW) == seconds


def test_a_broken_connection_counts_and_silence_does_not() -> None:
    assert signal_of_error(UpstreamDisconnected("reset")) == RESET
    assert signal_of_error(UpstreamTimeout("slow")) == NOTHING
    assert signal_of_error(UpstreamUnreachable("no route")) == NOTHING
