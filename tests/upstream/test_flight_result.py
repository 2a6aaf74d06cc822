"""Landings travel between processes as they are."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import UpstreamRedirected, UpstreamTimeout
from gateway.upstream.flight import FlightResult, decode, encode
from tests.upstream.test_queue import entry_of


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("revalidated", [False, True], ids=["fetched", "rfc9111-4.3.3-confirmed"])
def test_an_answer_travels_whole(revalidated: bool, failed: bool) -> None:
    landing = FlightResult("exact", entry_of("a"), stored=True, revalidated=revalidated, failed=failed)
    assert decode(encode(landing)) == landing


def test_an_error_travels_with_its_class_and_its_time() -> None:
    landing = decode(encode(FlightResult("exact", error=UpstreamTimeout("slow", retry_after=3.0))))
    assert landing is not None
    assert isinstance(landing.error, UpstreamTimeout)
    assert (landing.error.message, landing.error.retry_after) == ("slow", 3.0)


def test_a_redirect_travels_without_its_place() -> None:
    landing = decode(encode(FlightResult("exact", error=UpstreamRedirected("elsewhere", place="https://u:p@x/"))))
    assert landing is not None
    assert isinstance(landing.error, UpstreamRedirected)
    assert (landing.error.message, landing.error.place) == ("elsewhere", "")


def test_a_landing_of_the_version_before_is_understood() -> None:
    older = msgspec.msgpack.decode(encode(FlightResult("exact", entry_of("a"), stored=True)))[:-1]
    landing = decode(msgspec.msgpack.encode(older))
    assert landing is not None
    assert (landing.stored, landing.revalidated, landing.failed) == (True, False, False)
    older[1][1] = 503
    landing = decode(msgspec.msgpack.encode(older))
    assert landing is not None
    assert landing.failed


@pytest.mark.parametrize("data", [b"again", b"dropped", b"\xc1"])
def test_what_is_no_landing_is_none(data: bytes) -> None:
    assert decode(data) is None
