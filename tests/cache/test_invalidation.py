"""What a successful unsafe request makes void (RFC 9111 §4.4)."""

from __future__ import annotations

import pytest

from gateway.cache.invalidation import invalidated

OURS = {b"stats.example.org", b"127.0.0.1:8080"}


@pytest.mark.parametrize("status", [200, 201, 204, 302])
def test_rfc9111_4_4_success_invalidates_the_target(status: int) -> None:
    assert invalidated(b"/a?b=1", status, [], OURS) == [b"/a?b=1"]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_rfc9111_4_4_failure_invalidates_nothing(status: int) -> None:
    assert invalidated(b"/a", status, [(b"location", b"/b")], OURS) == []


@pytest.mark.parametrize("name", [b"location", b"content-location"])
@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (b"/b?c=1", b"/b?c=1"),
        (b"c", b"/x/c"),
        (b"?q=1", b"/x/a?q=1"),
        (b"http://Stats.example.org/b", b"/b"),
        (b"https://127.0.0.1:8080", b"/"),
        (b"//127.0.0.1:8080/b#part", b"/b"),
        (b"http://stats.example.org:80/b", b"/b"),
        (b"https://stats.example.org:443/b", b"/b"),
        (b"https://stats.example.org:80/b", None),
        (b"http://elsewhere.example/b", None),
        (b"//elsewhere.example/b", None),
        (b"http://[::1/b", None),
        (b"/\xff", None),
    ],
    ids=range(13),
)
def test_rfc9111_4_4_so_are_locations_of_the_same_origin(
    name: bytes, reference: bytes, target: bytes | None
) -> None:
    expected = [b"/x/a"] if target is None else [b"/x/a", target]
    assert invalidated(b"/x/a", 201, [(name, reference)], OURS) == expected
