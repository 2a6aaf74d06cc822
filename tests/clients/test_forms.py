"""Every client, unchanged: what it gets through the gateway is what the service would have told it, and the second
time the service is not asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import httpx2 as httpx
import pytest

from tests.clients import (
    with_aiohttp,
    with_curl,
    with_httpx2,
    with_requests,
    with_scripts,
    with_socket,
    with_urllib3,
)
from tests.clients.asking import Answer, Ask, Client, How, Place
from tests.clients.forms import FORMS, HELD, TIMELINE, Form
from tests.clients.ways import WAYS, Way
from tests.integration.stage import staged
from tests.loopback import LOOPBACK

CLIENTS = {
    client.name: client
    for client in (
        with_requests.CLIENT,
        with_httpx2.CLIENT,
        with_urllib3.CLIENT,
        with_aiohttp.CLIENT,
        with_scripts.NODE,
        with_curl.CLIENT,
        with_scripts.HTTR2,
        with_socket.CLIENT,
    )
}

MAY_DIFFER = frozenset(
    {
        # of this connection and this message (RFC 9110 §7.6.1)
        *("connection", "keep-alive", "transfer-encoding", "date"),
        # the coding that was negotiated with this client
        *("content-encoding", "content-length"),
        # what a cache says of its answer
        *("age", "cache-control", "cache-status", "etag", "vary", "accept-ranges", "via"),
        # what the gateway says of this client and this request
        *("x-request-id", "ratelimit", "ratelimit-policy", "proxy-status"),
        *("access-control-allow-origin", "access-control-expose-headers", "cross-origin-resource-policy"),
    }
)
"""Headers by which an answer through the gateway may differ from the service's own. All others are the same."""

AGAIN = 3
"""So often each request is made again: from the third time on the fast lane knows it."""
AT_ONCE = 2
"""So many clients try each form where not everything is tried."""
ANOTHER = 400
"""A number that is in none of the cases' requests."""


@dataclass(frozen=True)
class House:
    """The service, a gateway in front of it that a tenant has a key for, and one that knows its network."""

    service: str
    gateway: str
    nearby: str
    key: str
    control: httpx.Client

    @contextmanager
    def planned(self, form: Form) -> Iterator[None]:
        """The service's next answer, where the form has one."""
        if not form.plan:
            yield
            return
        plan = f"{self.service}/-/plan"
        assert self.control.put(plan, json=dict(form.plan)).status_code == 200
        yield
        self.control.delete(plan)

    def calls(self) -> int:
        """So often the service was asked."""
        return int(self.control.get(f"{self.service}/-/calls").json()["total"])


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with staged(budget="unlimited") as stage, httpx.Client(**LOOPBACK) as control:
        key = stage.tenant("reports", *HELD)
        stage.registry().change("reports", networks=["127.0.0.0/8"])
        gateway, nearby = stage.serve(), stage.serve(public_hosts="127.0.0.1")
        yield House(stage.sandbox.url, gateway.url, nearby.url, key, control)
        for client in CLIENTS.values():
            client.close()


def needs(client: Client) -> None:
    """Skips a test where its client cannot be had; fails it where CI ought to have it."""
    if missing := client.missing():
        if client.ours and os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


def usual(client: Client) -> Way:
    """How a client's programs send a name and a password."""
    return WAYS["option"] if Place.OPTION in client.takes else WAYS["Basic by hand"]


def can(client: Client, form: Form, way: Way) -> bool:
    """Whether a client can send this so."""
    return form.ask.how in {How.PLAINLY, *client.can} and way.place in {None, *client.takes}


def cases() -> Iterator[Any]:
    """Client, form, way, and a number by which no two cases ask the same. Each form and way has its turn with some
    clients, of which none is among them more often than others; all with all are for the exhaustive run."""
    alike: Counter[str] = Counter()
    turns: Counter[str] = Counter()
    ways: list[tuple[str, Form, Way | None]] = [(f"key by {name}", FORMS["timeline"], WAYS[name]) for name in WAYS]
    for name, form, way in [*((name, form, None) for name, form in FORMS.items()), *ways]:
        place = unquote(form.ask.target.partition("?")[0])
        able = [client for client in CLIENTS.values() if can(client, form, way or usual(client))]
        taking_turns = sorted(able, key=lambda client: turns[client.name])[:AT_ONCE]
        turns.update(client.name for client in taking_turns)
        for client in CLIENTS.values():
            alike[place] += 1
            if client in able:
                marks = () if client in taking_turns else pytest.mark.exhaustive
                chosen = way or usual(client)
                yield pytest.param(client, form, chosen, alike[place], id=f"{client}-{name}", marks=marks)


def direct(client: Client, form: Form) -> Ask:
    """The form as it is asked without a gateway: with the institution's own pair."""
    if form.pair is None:
        return form.ask
    name, password = form.pair
    if Place.OPTION in client.takes:
        return replace(form.ask, user=form.pair)
    return form.ask.with_basic(name.encode(), password)


def assert_same(ours: list[Answer], theirs: list[Answer], told: str) -> None:
    """Status, content, its type, and every header that is not one of a few."""
    assert [each.without(MAY_DIFFER) for each in ours] == [each.without(MAY_DIFFER) for each in theirs], told
    for one, other in zip(ours, theirs, strict=True):
        assert len(dict(one.headers)) == len(one.headers), told
        if not one.header("content-encoding"):
            assert one.header("content-length") == other.header("content-length"), told


@pytest.mark.parametrize(("client", "form", "way", "number"), [*cases()])
def test_a_client_gets_the_services_own_answer_and_the_next_time_without_a_call(
    house: House, client: Client, form: Form, way: Way, number: int
) -> None:
    needs(client)
    asked = way.add(form.ask, house.key).numbered(number)
    gateway = house.nearby if way.by_network else house.gateway
    with house.planned(form):
        theirs = client.ask(house.service, direct(client, form).numbered(number))
    before = house.calls()
    with house.planned(form):
        first = client.ask(gateway, asked)
    between = house.calls()
    again = [client.ask(gateway, asked) for _ in range(AGAIN)]
    calls = house.calls() - between
    told = f"{client} asked {asked}\ndirect: {theirs}\nfirst: {first}\nagain: {again}\ncalls: {calls}"
    assert {each.status for each in theirs} == {form.status}, told
    for ours in (first, *again):
        assert_same(ours, theirs, told)
    assert between - before <= form.calls, told  # fewer where the test is run again
    assert calls == 0, told


@pytest.mark.parametrize(
    "name", ["totals of an article", "timeline", "breakdown", "a parameter with everything in it"]
)
def test_what_one_client_asked_no_other_has_to(house: House, name: str) -> None:
    before = house.calls()
    bodies = {}
    for client in CLIENTS.values():
        if not client.missing():
            asked = usual(client).add(FORMS[name].ask, house.key).numbered(ANOTHER + len(name))
            (answer,) = client.ask(house.gateway, asked)
            bodies[client.name] = answer.body
    assert len(set(bodies.values())) == 1, bodies
    assert house.calls() <= before + 1


def test_a_page_may_send_what_its_preflight_named(house: House) -> None:
    client = CLIENTS["node"]
    needs(client)
    named = "authorization,content-type,traceparent,x-requested-with"
    asking = (
        ("Origin", "https://repository.example.org"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", named),
    )
    (granted,) = client.ask(house.gateway, Ask(TIMELINE, headers=asking, method="OPTIONS"))
    assert granted.status == 204
    assert granted.header("access-control-allow-headers") == named
