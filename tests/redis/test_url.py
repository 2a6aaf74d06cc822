"""Where a Redis is, as its URL says; and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redis_url import RedisPlace


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service", "secure", "options"),
    [
        ("redis://h", "one", (("h", 6379),), "", False, {}),
        ("redis://:pw@h:7/3", "one", (("h", 7),), "", False, {"password": "pw", "db": 3}),
        ("rediss://u:p%40w@h", "one", (("h", 6379),), "", True, {"username": "u", "password": "p@w"}),
        ("redis://[::1]:7/0", "one", (("::1", 7),), "", False, {"db": 0}),
        (
            "rediss://h/0?ssl_ca_certs=/etc/ca.pem", "one", (("h", 6379),), "", True,
            {"db": 0, "ssl_ca_certs": "/etc/ca.pem"},
        ),
        (
            "redis+sentinel://u:pw@a,b:5/stats/2", "sentinel", (("a", 26_379), ("b", 5)), "stats", False,
            {"username": "u", "password": "pw", "db": 2},
        ),
        ("rediss+sentinel://a/stats", "sentinel", (("a", 26_379),), "stats", True, {}),
        ("redis+cluster://:pw@a,b:5", "cluster", (("a", 6379), ("b", 5)), "", False, {"password": "pw"}),
        ("redis+cluster://a/0", "cluster", (("a", 6379),), "", False, {"db": 0}),
    ],
)  # fmt: skip
def test_it_reads(
    url: str, kind: str, hosts: object, service: str, *, secure: bool, options: dict[str, object]
) -> None:
    place = RedisPlace.parse(url)
    assert (place.kind, place.hosts, place.service, place.secure) == (kind, hosts, service, secure)
    assert place.options == options


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://h", "must be redis"),
        ("redis", "must be redis"),
        ("redis+://h", "must be redis"),
        ("redis+replica://h", "must be redis"),
        ("redis://", "host that is none"),
        ("redis://a,b", "several hosts"),
        ("redis://h:x", "bad port"),
        ("redis://h:99999", "bad port"),
        ("redis://h/x", "database"),
        ("redis://u:hun/ter@h", "percent-encoded"),
        ("redis://u:p@q@h", "percent-encoded"),
        ("redis://u:p#q@h", "percent-encoded"),
        ("redis+sentinel://a,b", "service"),
        ("redis+sentinel://a,/stats", "host that is none"),
        ("redis+cluster://a/1", "databases"),
        ("redis://h?db=x", "option"),
    ],
)
def test_what_is_none_is_refused_by_a_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RedisPlace.parse(url)


@given(st.text(max_size=40), st.sampled_from(["redis://", "rediss+sentinel://", "redis+cluster://u:secret@"]))
def test_whatever_is_written_there_is_a_place_or_a_value_error(rest: str, scheme: str) -> None:
    try:
        place = RedisPlace.parse(scheme + rest)
    except ValueError as error:
        assert "secret" not in str(error)  # noqa: PT017
    else:
        assert place.hosts
    assert "secret" not in repr(RedisPlace.parse("redis://u:secret@h"))
