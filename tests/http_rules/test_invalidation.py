"""Invalidation (RFC 9111 §4.4): what was under way when a request succeeded that changes it is kept nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2 as httpx
import pytest

from tests.http_rules.client import Client, request
from tests.http_rules.conftest import Start
from tests.http_rules.origin import Asked, Origin, Reply, origin_server, said
from tests.http_rules.rig import ADMIN_TOKEN, Gateway, Rig, Setup
from tests.integration.stage import until
from tests.loopback import LOOPBACK
from tests.redis_server import RedisServer, redis_server

JSON = "Content-Type: application/json"
FRESH = "Cache-Control: max-age=600"
STALE = "Cache-Control: max-age=0"
TAG = 'ETag: "v1"'
BEFORE, AFTER = b'{"totals": 1}', b'{"totals": 2}'
NO = b'{"message": "not yet", "code": "NotFound", "data": null}'
SHARED = [Setup("redis", "lane"), Setup("redis", "no-lane")]

Make = Callable[..., Reply]


def held(*fields: str, body: bytes = BEFORE, status: int = 200) -> Reply:
    return Reply(said(*fields, JSON, body=body, status=status), held=True)


def fresh(body: bytes = AFTER) -> bytes:
    return said(FRESH, JSON, body=body)


class Scene:
    """A target whose answers to GET come in turn, and which takes every other method."""

    def __init__(
        self, origin: Origin, target: str, *says: bytes | Reply, changing: bytes | Reply | None = None
    ) -> None:
        self.origin, self.target = origin, target
        self.says = list(says)
        self.changing: bytes | Reply = changing or said(JSON, body=b"{}")
        self.lock = threading.Lock()
        origin.on(target, self.answer)

    def answer(self, asked: Asked) -> bytes | Reply:
        if asked.method != "GET":
            return self.changing
        with self.lock:
            return self.says.pop(0) if len(self.says) > 1 else self.says[0]

    def reads(self) -> list[Asked]:
        return [asked for asked in self.origin.asked(self.target) if asked.method == "GET"]


@contextmanager
def under_way(gateway: Gateway, reply: Reply, target: str, *fields: str) -> Iterator[Client]:
    """A client whose GET has reached the origin, where its answer is held."""
    with gateway.open() as client:
        client.send(request(target, *fields))
        reply.await_request()
        yield client


def only_after(gateway: Gateway, target: str, *fields: str) -> None:
    """Whoever asks from now on gets what was fetched after the change, however the gateway answers."""
    bodies = {answer.body for answer in gateway.ask_until_learnt(target, *fields)}
    assert bodies == {AFTER}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_an_answer_under_way_is_not_kept_after_a_change(
    gateway: Gateway, origin: Origin, path: str, method: str
) -> None:
    late = held(FRESH)
    scene = Scene(origin, path, late, fresh())
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(path, method=method).status == 200
        late.let_go()
        assert reader.answer().body == BEFORE  # who asked before the change may have it
    only_after(gateway, path)
    assert len(scene.reads()) == 2


def test_the_service_too_and_for_a_question_that_is_known(statistics: Gateway, origin: Origin, item: int) -> None:
    late, target = held(), f"/total/views/article/{item}"
    scene = Scene(origin, target, late, said(JSON, body=AFTER))
    with under_way(statistics, late, target) as reader:
        assert statistics.ask(target, method="POST").status == 200
        late.let_go()
        assert reader.answer().body == BEFORE
    only_after(statistics, target)
    assert len(scene.reads()) == 2


@pytest.mark.parametrize("setup", SHARED, indirect=True, ids=str)
@pytest.mark.parametrize("who", ["the reader's gateway", "the other"])
def test_two_gateways_agree(start: Start, origin: Origin, path: str, who: str) -> None:
    reads, other = start(), start(number=1)
    late = held(FRESH)
    scene = Scene(origin, path, late, fresh())
    with under_way(reads, late, path) as reader:
        changes = other if who == "the other" else reads
        assert changes.ask(path, method="POST").status == 200
        late.let_go()
        assert reader.answer().body == BEFORE
    for gateway in (reads, other, reads):
        only_after(gateway, path)
    assert len(scene.reads()) == 2


def test_who_asks_after_the_change_does_not_wait_for_an_answer_from_before(
    gateway: Gateway, origin: Origin, path: str
) -> None:
    late = held(FRESH)
    Scene(origin, path, late, fresh())
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(path, method="POST").status == 200
        assert gateway.ask(path).body == AFTER
        late.let_go()
        assert reader.answer().body == BEFORE
    only_after(gateway, path)  # the late one takes nothing's place


@pytest.mark.parametrize("location", ["Location", "Content-Location"])
def test_a_change_elsewhere_that_points_here_counts(
    gateway: Gateway, origin: Origin, path: str, location: str
) -> None:
    late = held(FRESH)
    Scene(origin, path, late, fresh())
    origin.on(f"{path}/made", said(f"{location}: {path}", status=201))
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(f"{path}/made", method="PUT").status == 201
        late.let_go()
        reader.answer()
    only_after(gateway, path)


@pytest.mark.parametrize("status", [400, 500])
def test_a_change_that_failed_changes_nothing(gateway: Gateway, origin: Origin, path: str, status: int) -> None:
    late = held(FRESH)
    scene = Scene(origin, path, late, fresh(), changing=said(status=status))
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(path, method="POST").status == status
        late.let_go()
        assert reader.answer().body == BEFORE
    assert gateway.ask(path).body == BEFORE
    assert len(scene.reads()) == 1


@pytest.fixture(scope="module")
def below(rig: Rig) -> Callable[[str], Gateway]:
    """Gateways whose origin is at a path of its host."""
    running: dict[str, Gateway] = {}

    def started(profile: str) -> Gateway:
        if profile not in running:
            at = {"upstream": f"{rig.origin.url}/base", "redis_prefix": f"below-{profile}"}
            running[profile] = rig.start(Setup("memory", "lane"), profile, "memory://", f"below-{profile}", **at)
        return running[profile]

    return started


@pytest.mark.parametrize("profile", ["generic", "statistics"])
@pytest.mark.parametrize("location", ["Location", "Content-Location"])
@pytest.mark.parametrize("named", ["{url}/base{path}", "/base{path}", "//{host}/base{path}"])
def test_a_place_below_the_origins_path_is_the_one_that_clients_ask_for(
    below: Callable[[str], Gateway], origin: Origin, path: str, profile: str, location: str, named: str
) -> None:
    gateway, host = below(profile), origin.url.removeprefix("http://")
    scene = Scene(origin, f"/base{path}", fresh(BEFORE), fresh())
    place = named.format(url=origin.url, host=host, path=path)
    origin.on(f"/base{path}/made", said(f"{location}: {place}", JSON, status=201, body=b"{}"))
    assert gateway.ask(path).body == BEFORE
    assert gateway.ask(f"{path}/made", method="POST", body=b"{}").status == 201
    only_after(gateway, path)
    assert len(scene.reads()) == 2


DONE = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(DONE + b"Content-Length: 10\r\n\r\nabc", id="cut"),
        pytest.param(DONE + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="no-chunk"),
        pytest.param(DONE + b"X-Bad: a\x01b\r\nContent-Length: 0\r\n\r\n", id="control-character"),
        pytest.param(DONE + b"Content-Length: 99999999999\r\n\r\nabc", id="too-long"),
        pytest.param(b"", id="nothing"),
    ],
)
@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_rfc9111_4_4_a_change_whose_answer_cannot_be_used_may_have_been_made(
    start: Start, origin: Origin, path: str, profile: str, broken: bytes
) -> None:
    gateway = start(profile)
    scene = Scene(origin, path, fresh(BEFORE), fresh(), changing=Reply(broken, closes=True))
    assert {answer.body for answer in gateway.ask_until_learnt(path)} == {BEFORE}
    assert gateway.ask(path, method="POST", body=b"{}").status == 502
    only_after(gateway, path)
    assert len(scene.reads()) == 2


@pytest.mark.parametrize("status", [205, 206])
@pytest.mark.parametrize("fields", [[], ["Content-Range: bytes 0-1/9"]], ids=["unnamed", "named"])
def test_rfc9111_4_4_a_change_counts_by_its_status_whatever_the_content_is(
    gateway: Gateway, origin: Origin, path: str, status: int, fields: list[str]
) -> None:
    Scene(origin, path, fresh(BEFORE), fresh(), changing=said(*fields, status=status, body=b"xx"))
    assert gateway.ask(path).body == BEFORE
    answer = gateway.ask(path, method="POST", body=b"{}")
    assert (answer.status, answer.body) == (status, b"xx" if status == 206 else b"")
    only_after(gateway, path)


def test_what_was_never_written_changes_nothing(rig: Rig, path: str) -> None:
    with origin_server() as gone:
        gone.on(path, fresh(BEFORE))
        gateway = rig.start(Setup("memory", "lane"), "generic", "memory://", f"gone{path[1:]}", upstream=gone.url)
        assert gateway.ask(path).body == BEFORE
        gone.on("/close", Reply(fresh(), closes=True))
        gateway.ask("/close")
    assert gateway.ask(path, method="POST", body=b"{}").status == 502
    assert gateway.ask(path).body == BEFORE


def test_a_304_does_not_freshen_what_was_changed_meanwhile(gateway: Gateway, origin: Origin, path: str) -> None:
    late = Reply(said(TAG, FRESH, status=304), held=True)
    scene = Scene(origin, path, said(TAG, STALE, JSON, body=BEFORE), late, fresh())
    assert gateway.ask(path).body == BEFORE
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(path, method="POST").status == 200
        late.let_go()
        assert reader.answer().body == BEFORE
    only_after(gateway, path)
    assert [asked.header("if-none-match") for asked in scene.reads()] == [None, '"v1"', None]


def test_nor_does_a_refresh_in_the_background(gateway: Gateway, origin: Origin, path: str) -> None:
    while_refreshed = "Cache-Control: max-age=0, stale-while-revalidate=600"
    late = held(FRESH)
    Scene(origin, path, said(TAG, while_refreshed, JSON, body=BEFORE), late, fresh())
    gateway.ask(path)
    assert gateway.ask(path).body == BEFORE
    late.await_request()
    assert gateway.ask(path, method="POST").status == 200
    late.let_go()
    only_after(gateway, path)


@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_a_no_that_was_under_way_is_not_remembered(start: Start, origin: Origin, path: str, profile: str) -> None:
    gateway = start(profile)
    late = held(FRESH, body=NO, status=404)
    Scene(origin, path, late, fresh())
    with under_way(gateway, late, path) as reader:
        assert gateway.ask(path, method="POST").status == 200
        late.let_go()
        assert reader.answer().status == 404
    only_after(gateway, path)


@pytest.mark.parametrize("field", ["Accept: application/json", "Accept-Language: de", "X-Own: 1"])
@pytest.mark.parametrize("profile", ["generic", "statistics"])
def test_a_remembered_no_ends_with_the_change(
    start: Start, origin: Origin, path: str, profile: str, field: str
) -> None:
    gateway = start(profile)
    Scene(origin, path, said(FRESH, JSON, body=NO, status=404), fresh())
    for _ in range(2):
        assert gateway.ask(path, field).status == 404
    assert gateway.ask(path, method="POST").status == 200
    only_after(gateway, path, field)


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize("hard", [True, False], ids=["hard", "soft"])
def test_a_purge_while_an_answer_is_under_way(gateway: Gateway, origin: Origin, path: str, hard: bool) -> None:
    late = held(FRESH)
    scene = Scene(origin, path, late, fresh())
    with under_way(gateway, late, path) as reader:
        admin = f"http://127.0.0.1:{gateway.process.admin_port}/api/purge"
        bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        body = {"query": path, "hard": hard}
        done = httpx.post(admin, json=body, headers=bearer, timeout=20, **LOOPBACK)
        assert done.status_code == 200, done.text
        late.let_go()
        assert reader.answer().body == BEFORE
    if not hard:  # what is stale now may be given once more, while it is asked for anew
        until(lambda: gateway.ask(path).body == AFTER)
    only_after(gateway, path)
    assert len(scene.reads()) == 2


# Without Redis: a process heeds what it was told itself, and tells the fleet as soon as Redis takes it


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def pair(rig: Rig, own_redis: RedisServer) -> tuple[Gateway, Gateway]:
    """Two gateways on a Redis of their own."""
    setup = Setup("redis", "lane")
    one, two = (
        rig.start(setup, "generic", own_redis.url, f"alone-{own_redis.port}-{number}", redis_timeout=0.3)
        for number in range(2)
    )
    return one, two


def test_without_redis_a_late_answer_is_not_kept_either(
    pair: tuple[Gateway, Gateway], own_redis: RedisServer, origin: Origin, path: str
) -> None:
    gateway, _ = pair
    late = held(FRESH)
    scene = Scene(origin, path, late, fresh())
    with under_way(gateway, late, path) as reader:
        own_redis.kill()
        assert gateway.ask(path, method="POST").status == 200
        late.let_go()
        assert reader.answer().body == BEFORE
    only_after(gateway, path)
    assert len(scene.reads()) == 2


def test_what_redis_missed_it_is_told_once_it_is_back(
    pair: tuple[Gateway, Gateway], own_redis: RedisServer, origin: Origin, path: str
) -> None:
    here, there = pair
    scene = Scene(origin, path, fresh(BEFORE), fresh())
    assert {here.ask(path).body, there.ask(path).body} == {BEFORE}
    own_redis.pause()
    assert here.ask(path, method="POST").status == 200
    assert here.ask(path).body == AFTER
    own_redis.resume()
    only_after(here, path)
    until(lambda: there.ask(path).body == AFTER)
    only_after(here, path)
    assert len(scene.reads()) <= 3
