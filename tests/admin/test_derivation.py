"""What the admin API tells of derivation, on a gateway in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.derivation.trust import Check, State, Trust, Verdict
from gateway.derivation.trust_store import Place
from gateway.proxy.deriving import Deriver
from tests.integration.house import House, housed
from tests.integration.stage import Stage, staged

PLACE = Place("f" * 64, "lboro")
SUBJECT = "listed:views:article"
WHERE = {"scope": PLACE.scope, "institution": "lboro"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples") as stage:
        stage.tenant("lib", "lboro")
        yield stage


@pytest.fixture
async def house(stage: Stage) -> AsyncIterator[House]:
    async with housed(stage, derive="shadow") as house:
        deriver = house.resolver.derivations
        assert isinstance(deriver, Deriver)
        check = Check("/lboro/total/views/article/3", Verdict.DIFFERENT, 5.0, b'{"totals": 1}', b'{"totals": 2}')
        await deriver.book.change(
            PLACE, SUBJECT, lambda _: Trust().suspended(house.resolver.clock.now(), "why", check)
        )
        yield house


async def test_trust_is_listed_without_anybodys_numbers(house: House) -> None:
    answer = await house.admin.get("/api/derivation")
    (place,) = answer.json()["places"]
    (subject,) = place["subjects"]
    assert (place["scope"], place["institution"]) == PLACE
    assert (subject["subject"], subject["rule"], subject["needed"]) == (SUBJECT, "listed", 60)
    assert (subject["state"], subject["reason"]) == (State.SUSPENDED, "why")
    assert "totals" not in answer.text


async def test_the_last_checks_show_both_answers(house: House) -> None:
    answer = await house.admin.get("/api/derivation/checks", params=WHERE)
    difference = answer.json()["subjects"][SUBJECT]["difference"]
    assert (difference["derived"], difference["told"]) == ('{"totals": 1}', '{"totals": 2}')
    assert difference["question"] == "/lboro/total/views/article/3"
    wrong = await house.admin.get("/api/derivation/checks", params={"scope": "../x"})
    assert wrong.status_code == 400


async def test_a_subject_can_begin_anew(house: House) -> None:
    one = WHERE | {"subject": SUBJECT}
    assert (await house.admin.delete("/api/derivation", params=one)).status_code == 204
    assert (await house.admin.delete("/api/derivation", params=one)).status_code == 404
    assert (await house.admin.get("/api/derivation/checks", params=WHERE)).json()["subjects"] == {}


async def test_explain_names_the_rules(house: House) -> None:
    explained = await house.admin.get(
        "/api/explain", params={"path": "/lboro/total/views/article/3", "tenant": "lib"}
    )
    assert [(each["rule"], each["state"], each["mode"]) for each in explained.json()["derivation"]] == [
        ("listed", "untested", "shadow"),
        ("absent", "untested", "shadow"),
    ]
    breakdown = "/lboro/breakdown/total/views/article/3?start_date=2014-01-01&end_date=2014-02-01"
    explained = await house.admin.get("/api/explain", params={"path": breakdown, "tenant": "lib"})
    assert explained.json()["derivation"] == []
