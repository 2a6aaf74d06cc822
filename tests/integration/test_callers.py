"""Who asks, and how much: limits, addresses, pages of other origins and lifetimes of their own."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx2 as httpx
import pytest

from gateway.tenants.edits import existing, with_key
from gateway.tenants.schema import KeyTable
from gateway.tenants.tenant import digest_of
from tests.integration.house import FakeClock, housed
from tests.integration.stage import Stage, get, staged
from tests.loopback import LOOPBACK

PUBLIC = "/total/views/article/23"
LBORO = "/lboro/timeline/total/views/collection/15?start_date=2014-01-02&end_date=2014-03-05"
PAGE = "https://dashboard.example.org"


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged(budget="unlimited", allow_anonymous="true") as stage:
        stage.tenant("reports", "lboro")
        yield stage


def asked(url: str, times: int, **headers: str) -> list[int]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return [get(url + PUBLIC, headers=given).status_code for _ in range(times)]


def test_callers_without_a_key_are_limited_by_address_and_told_so(stage: Stage) -> None:
    gateway = stage.serve(anonymous_requests_per_second="0.01", anonymous_burst="3", trusted_proxies="127.0.0.0/8")
    assert asked(gateway.url, 6, X_Forwarded_For="198.51.100.7").count(200) in (3, 4)
    assert asked(gateway.url, 2, X_Forwarded_For="198.51.100.8") == [200, 200]
    assert asked(gateway.url, 1, X_API_Key=stage.keys["reports"], X_Forwarded_For="198.51.100.7") == [200]
    refused = get(gateway.url + PUBLIC, headers={"X-Forwarded-For": "198.51.100.7"})
    assert refused.status_code == 429
    assert refused.json()["code"] == "GatewayRateLimited"
    assert refused.headers["ratelimit-policy"] == '"rate";q=3;w=300'
    assert int(refused.headers["retry-after"]) > 30
    assert refused.headers["ratelimit"] == f'"rate";r=0;t={refused.headers["retry-after"]}'
    assert refused.headers["proxy-status"].startswith("stats-gateway; error=")


def test_callers_without_a_key_are_told_of_their_day_too(stage: Stage) -> None:
    gateway = stage.serve(anonymous_requests_per_second="5", anonymous_burst="10", anonymous_requests_per_day="3")
    answers = [get(gateway.url + PUBLIC) for _ in range(6)]
    assert [answer.status_code for answer in answers[:3]] == [200] * 3
    refused = answers[-1]
    assert refused.status_code == 429
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"rate";q=10;w=2, "day";q=3;w=86400'}
    assert answers[0].headers["ratelimit"].startswith('"rate";r=9;t=2, "day";r=2;t=')
    assert refused.headers["ratelimit"] == f'"day";r=0;t={refused.headers["retry-after"]}'


def test_ipv6_addresses_of_one_network_are_one_caller(stage: Stage) -> None:
    gateway = stage.serve(anonymous_requests_per_second="0.01", anonymous_burst="2", trusted_proxies="127.0.0.0/8")
    answers = [asked(gateway.url, 1, X_Forwarded_For=f"2001:db8:1:2::{host}")[0] for host in range(1, 9)]
    assert answers.count(200) in (2, 3)
    assert asked(gateway.url, 1, X_Forwarded_For="2001:db8:1:3::1") == [200]


def test_nobody_but_a_trusted_proxy_tells_an_address(stage: Stage) -> None:
    gateway = stage.serve(anonymous_requests_per_second="0.01", anonymous_burst="2")
    answers = [asked(gateway.url, 1, X_Forwarded_For=f"198.51.100.{host}")[0] for host in range(1, 9)]
    assert answers.count(200) in (2, 3)


def test_an_address_that_guesses_keys_is_slowed_down_and_valid_keys_from_there_work(stage: Stage) -> None:
    gateway = stage.serve(invalid_keys_per_minute="5", trusted_proxies="127.0.0.0/8")
    guess, here = "sgw_0123456789_" + "0" * 43, "198.51.100.7"
    guesses = [asked(gateway.url, 1, X_API_Key=guess, X_Forwarded_For=here)[0] for _ in range(12)]
    assert guesses[:5] == [401] * 5
    assert guesses[-4:] == [429] * 4
    assert asked(gateway.url, 1, X_API_Key=stage.keys["reports"], X_Forwarded_For=here) == [200]
    assert asked(gateway.url, 1, X_API_Key=guess, X_Forwarded_For="198.51.100.8") == [401]


def test_no_key_at_all_is_no_guess() -> None:
    with staged(budget="unlimited") as stage:
        gateway = stage.serve(invalid_keys_per_minute="2")
        assert asked(gateway.url, 6) == [401] * 6


def test_a_key_of_an_older_version_opens_what_it_opened(stage: Stage) -> None:
    text = "sgw_AbCdEf0043_" + "x9" * 21 + "x"
    digest = digest_of(text.rpartition("_")[2])
    key = KeyTable(f"sha256:{digest.hex()}", "old", datetime.now(UTC))
    stage.registry().store.edit({"reports": lambda table: with_key(existing("reports", table), text[4:14], key)})
    gateway = stage.serve()
    for given in ({"X-API-Key": text}, {"Authorization": f"Bearer {text}"}):
        assert get(gateway.url + LBORO, headers=given).status_code == 200
    assert get(gateway.url + LBORO, auth=("lboro", text)).status_code == 200
    assert get(gateway.url + LBORO, headers={"X-API-Key": text[:-1]}).status_code == 401


def test_rfc7617_2_each_way_to_send_a_key_is_taken_whatever_the_username(stage: Stage) -> None:
    gateway, key = stage.serve(), stage.keys["reports"].encode()
    for value in (
        b"token " + key,
        b"Token " + key,
        b"Basic " + base64.b64encode("José:".encode("latin-1") + key),
        b"Basic " + base64.b64encode(b"\x00\xff:" + key),
        b"Basic " + base64.b64encode(b"lboro:" + key),
    ):
        assert "\n" not in value.decode()
        answer = get(gateway.url + LBORO, headers=[(b"Authorization", value)])
        assert answer.status_code == 200, value
    for value, code in (
        (b"token " + key[:-1], "GatewayUnauthenticated"),
        (b"Basic " + base64.b64encode(b"a:b:" + key), "GatewayUnauthenticated"),
        (b"Basic " + base64.b64encode(key), "GatewayAmbiguousKey"),
    ):
        assert get(gateway.url + LBORO, headers=[(b"Authorization", value)]).json()["code"] == code


EVIL = "https://evil.example"


def cors(answer: httpx.Response) -> dict[str, str]:
    """What an answer tells a browser of who may read it."""
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}
    return told | {"vary": answer.headers["vary"]}


def test_a_tenants_page_may_read_and_another_may_not(stage: Stage) -> None:
    stage.registry().change("reports", origins=[f"{PAGE}:443"])  # as no browser writes it
    stage.tenant("plain", "lboro")
    gateway = stage.serve()

    def read(origin: str, key: str) -> dict[str, str]:
        return cors(get(gateway.url + LBORO, headers={"Origin": origin, "X-API-Key": stage.keys[key]}))

    for _ in range(3):  # from the service, from what is near, and by the fast lane
        mine = read(PAGE, "reports")
        assert mine["access-control-allow-origin"] == PAGE
        assert "Origin" in mine["vary"]
        assert "access-control-allow-credentials" not in mine
        for others in (read(EVIL, "reports"), read(PAGE, "plain"), read(f"{PAGE}:8443", "reports")):
            assert "access-control-allow-origin" not in others


def preflight(url: str, origin: str, named: str = "x-api-key", **headers: str) -> httpx.Response:
    wanted = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": named}
    return httpx.options(url + LBORO, headers={"Origin": origin, **wanted, **headers}, **LOOPBACK)


LARGE = "/breakdown/day/views/group/1?start_date=2014-01-01&end_date=2014-12-31"


def test_rfc9110_12_5_5_whatever_is_answered_has_one_vary_line(stage: Stage) -> None:
    stage.registry().change("reports", origins=[PAGE])
    gateway = stage.serve(allow_anonymous="true", pass_methods="POST")
    key = {"X-API-Key": stage.keys["reports"]}
    etag = get(gateway.url + LARGE, headers=key).headers["etag"]
    asks: dict[str, dict[str, str]] = {
        "plain": {},
        "identity": {"Accept-Encoding": "identity"},
        "gzip": {"Accept-Encoding": "gzip"},
        "zstd": {"Accept-Encoding": "zstd"},
        "its page": {"Origin": PAGE},
        "another page": {"Origin": EVIL},
        "unchanged": {"If-None-Match": etag},
        "a part": {"Range": "bytes=0-9"},
        "no part": {"Range": "bytes=999999-", "Origin": PAGE},
        "only what is stored": {"Cache-Control": "only-if-cached"},
    }
    for who in (key, {}, {"X-API-Key": "nonsense"}):
        for headers in asks.values():
            for target in (LARGE, LBORO, "/total/views/article/23", "/total/hugs/article/1", "/nothing", "/%zz"):
                for _ in range(3):  # from the service, from what is near, and by the fast lane
                    answer = get(gateway.url + target, headers=who | headers)
                    assert len(answer.headers.get_list("vary")) == 1, (target, who, headers)
    (named,) = get(gateway.url + LARGE, headers=key | {"Accept-Encoding": "zstd"}).headers.get_list("vary")
    assert named == "X-API-Key, Authorization, Accept-Encoding, Origin"
    assert len(preflight(gateway.url, PAGE).headers.get_list("vary")) == 1
    for method in ("POST", "DELETE", "HEAD"):
        asked = httpx.request(method, gateway.url + LARGE, headers=key | {"Origin": PAGE}, **LOOPBACK)
        assert len(asked.headers.get_list("vary")) == 1, method


@pytest.mark.parametrize("settings", [{}, {"allow_anonymous": "true"}, {"pass_methods": "OPTIONS,POST"}], ids=str)
def test_nothing_that_comes_without_a_key_tells_whose_web_origins_there_are(
    stage: Stage, settings: dict[str, str]
) -> None:
    stage.registry().change("reports", origins=[PAGE])
    gateway = stage.serve(**settings)
    asks: list[Callable[[str], httpx.Response]] = [
        lambda origin: preflight(gateway.url, origin),
        lambda origin: preflight(gateway.url, origin, "content-type,traceparent,x-requested-with"),
        lambda origin: get(gateway.url + "/total/views/article/23", headers={"Origin": origin}),
        lambda origin: get(gateway.url + LBORO, headers={"Origin": origin}),
        lambda origin: get(gateway.url + LBORO, headers={"Origin": origin, "X-API-Key": "nonsense"}),
        lambda origin: get(gateway.url + "/%zz", headers={"Origin": origin}),
    ]
    for ask in asks:
        mine, others = ask(PAGE), ask(EVIL)
        assert mine.status_code == others.status_code
        assert cors(mine) == cors(others)
        assert mine.headers["access-control-allow-origin"] == "*", "and pages can read why they were refused"


def test_a_preflight_is_granted_alike_where_no_tenant_has_an_origin(stage: Stage) -> None:
    with staged(budget="unlimited") as bare:
        without, with_one = bare.serve(), stage.serve()
        for named in ("content-type", "x-requested-with, traceparent"):
            answers = [preflight(each.url, PAGE, named) for each in (without, with_one)]
            assert [each.status_code for each in answers] == [204, 204]
            assert cors(answers[0]) == cors(answers[1])
            assert answers[0].headers["access-control-allow-headers"] == named


async def test_a_tenants_own_lifetime_is_its_alone(stage: Stage) -> None:
    stage.registry().change("reports", lifetimes={"closed": 60})
    stage.tenant("plain", "lboro")
    clock = FakeClock(1_700_000_000.0)
    async with housed(stage, clock) as house:
        first = await house.get(LBORO, stage.keys["reports"])
        assert first.headers["cache-control"] == "private, max-age=60"
        clock.time += 30
        assert "; hit" in (await house.get(LBORO, stage.keys["reports"])).headers["cache-status"]
        clock.time += 40
        assert "detail=refreshing" in (await house.get(LBORO, stage.keys["reports"])).headers["cache-status"]
        other = await house.get(LBORO, stage.keys["plain"])
        assert "detail=refreshing" not in other.headers["cache-status"]
