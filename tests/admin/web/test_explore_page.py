"""The Explore page on a real gateway, over a real socket, as a browser without JavaScript has it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.admin.web.reader import Reader, Sheet
from tests.admin.web.visitor import SETTINGS, TOKEN, WATCHING
from tests.integration.stage import Stage, get, staged

MONASH = {"tenant": "reports", "institution": "monash", "window": "dates"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(budget="unlimited", **SETTINGS, public_url="http://s.test") as stage:
        stage.tenant("reports", "monash")
        stage.tenant("dash", "lboro")
        stage.serve()
        yield stage


@pytest.fixture(scope="module")
def visitor(stage: Stage) -> Iterator[Reader]:
    with Reader(f"http://127.0.0.1:{stage.gateways[0].admin_port}", WATCHING) as visitor:
        yield visitor


def plan(stage: Stage, body: object, **more: object) -> None:
    stage.plan(body=body if isinstance(body, str) else json.dumps(body), **more)


def test_the_form_offers_what_there_is_and_asks_nothing_by_itself(stage: Stage, visitor: Reader) -> None:
    stage.reset_calls()
    page = visitor.see("/explore")
    assert page.status == 200
    chosen = [each["value"] for each in page.all("option") if "selected" in each]
    assert chosen[:2] == ["dash", "lboro"]
    assert page.all("option", value="reports")[0]["data-institutions"] == "monash"
    labels = {each["for"] for each in page.all("label")}
    fields = {each["id"] for tag in ("input", "select") for each in page.all(tag) if "id" in each}
    assert fields <= labels
    assert stage.calls()["total"] == 0
    assert page.dangers() == []


def test_a_timeline_is_a_table_with_zeros_bars_and_how_it_was_served(stage: Stage, visitor: Reader) -> None:
    group = MONASH | {"family": "timeline", "counter": "shares", "item": "group", "item_id": "10"}
    asked = group | {"start": "2014-01-03", "end": "2014-05-12", "sub_item": "category", "sub_item_id": "2"}
    page = visitor.see("/explore", **asked)
    assert page.status == 200
    assert [each["data-value"] for each in page.all("td") if "data-value" in each] == ["3", "5", "18", "4", "2"]
    assert "Shares of group 10 in monash, by month, category 2" in page.text
    assert "32 shares in 5 months" in page.text
    assert "The service was asked, and its answer is kept." in page.text
    path = "/monash/timeline/month/shares/group/10?start_date=2014-01-03&end_date=2014-05-12"
    path += "&sub_item=category&sub_item_id=2"
    assert f"curl -H \"X-API-Key: $GATEWAY_KEY\" 'http://s.test{path}'" in page.text
    assert {"width": "100.0%", "height": "100%"} in page.all("rect")
    again = visitor.see("/explore", tenant="reports", path=path)
    assert "From the cache, fresh." in again.text
    assert "Fresh for" in again.text
    assert again.all("input", name="sub_item_id")[0]["value"] == "2"
    assert page.dangers() == again.dangers() == []


def test_a_breakdown_is_ranked_opens_to_cities_and_can_be_of_one_bucket(visitor: Reader) -> None:
    path = "/monash/breakdown/year/views/project/1345?start_date=2013-01-01&end_date=2015-01-01"
    page = visitor.see("/explore", tenant="reports", path=path)
    assert page.status == 200
    places = ["Spain", "Brazil", "China", "Venezuela", "United States"]
    at = [page.text.index(f" {place} ") for place in places]
    assert at == sorted(at)
    assert "29 views from 5 countries" in page.text
    assert page.text.index("Seville") > page.text.index("Spain")
    year = visitor.see("/explore", tenant="reports", path=path, bucket="2014")
    assert "16 views from 3 countries in 2014" in year.text
    assert " Seville 5 " in page.text
    assert " Seville 5 " not in year.text


def test_tops_keep_their_order_wrapped_or_bare(stage: Stage, visitor: Reader) -> None:
    bare = visitor.see(
        "/explore", tenant="reports", path="/top/views/project?item_id=13&count=2&sub_item=referral"
    )
    assert bare.text.index("www.google.com 212") < bare.text.index("www.figshare.com 175")
    plan(stage, '{"top": {"9": 5, "10": 7, "1": 6}}')
    wrapped = visitor.see("/explore", **(MONASH | {"family": "tops", "item": "author", "count": "3"}))
    ranks = [
        wrapped.text.index(f"{rank} {name} {count} ") for rank, name, count in ((1, 9, 5), (2, 10, 7), (3, 1, 6))
    ]
    assert ranks == sorted(ranks)
    links = [each["href"] for each in wrapped.all("a") if each["href"].endswith("item_id=10")]
    assert links
    assert "Views of author 10 in monash" in visitor.see(links[0]).text


def test_totals_are_a_big_figure(visitor: Reader) -> None:
    page = visitor.see(
        "/explore", tenant="reports", family="totals", counter="views", item="article", item_id="23"
    )
    assert "231 views" in page.text


def test_errors_are_the_services_message_and_ours(visitor: Reader) -> None:
    wrong = visitor.see("/explore", tenant="reports", path="/total/hugs/article/215")
    assert (wrong.status, "400 Invalid or unsupported params: counter" in wrong.text) == (200, True)
    other = visitor.see("/explore", tenant="dash", path="/monash/top/views/article")
    assert "403 Unauthorized request" in other.text
    assert "Refused by the gateway." in other.text
    nobody = visitor.see("/explore", path="/total/views/article/23")
    assert "401 A gateway key is needed" in nobody.text
    malformed = visitor.see("/explore", tenant="reports", path="/a//b")
    assert "an empty segment" in malformed.text


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"family": "timeline", "item": "group"}, 400, "Which group? Give its id"),
        ({"path": "no path"}, 400, "A path begins with /"),
        ({"path": "/-/health/ready"}, 400, "the gateway's own"),
        ({"path": "/total/views/article/1", "tenant": "nobody"}, 404, "There is no such tenant."),
        ({"tenant": HOSTILE}, 200, "Put a question together"),
        ({"path": HOSTILE, "tenant": HOSTILE, "bucket": HOSTILE}, 400, "A path begins with /"),
        ({"family": HOSTILE, "counter": HOSTILE, "institution": HOSTILE, "item_id": HOSTILE}, 200, "malformed"),
    ],
)
def test_what_asks_nothing_is_said_beside_the_form(
    visitor: Reader, query: dict[str, str], status: int, said: str
) -> None:
    page = visitor.see("/explore", **query)
    assert page.status == status
    assert said in page.text
    assert page.all("form", id="ask")
    assert page.dangers() == []


@pytest.mark.parametrize("mark", ["_", "%5F"])
def test_a_key_pasted_into_the_question_is_refused_and_not_shown(stage: Stage, visitor: Reader, mark: str) -> None:
    key = stage.keys["reports"]
    stage.reset_calls()
    pasted = key.replace("_", mark)
    for query in (
        {"path": f"/total/views/article/1?k={pasted}"},
        {"family": "totals", "item_id": pasted},
        {pasted: "1"},
    ):
        answer = visitor.client.get("/explore", params=query)
        assert answer.status_code == 400
        assert "gateway key was given" in answer.text
        assert key.rpartition("_")[2] not in answer.text
    assert stage.calls()["total"] == 0


def test_a_hostile_service_writes_no_html(stage: Stage, visitor: Reader) -> None:
    hostile = {
        "breakdown": {HOSTILE: {HOSTILE: {HOSTILE: 3, "total": 4}}, "2014": {"javascript:alert(1)": {"total": 1}}},
        "top": {HOSTILE: 3},
        "timeline": {HOSTILE: 3, "javascript:alert(1)": 1},
    }
    for number, (family, key) in enumerate(
        (("breakdown", "breakdown"), ("tops", "top"), ("timeline", "timeline"))
    ):
        plan(stage, {key: hostile[key]})
        page = visitor.see("/explore", **(MONASH | {"family": family, "item_id": str(600 + number)}))
        assert "alert(1)" in page.text
        assert page.dangers() == []
    plan(stage, {"message": HOSTILE, "code": "x", "data": None}, status=400)
    page = visitor.see("/explore", tenant="reports", path="/total/hugs/article/601")
    assert "alert(1)" in page.text
    assert page.dangers() == []
    plan(stage, HOSTILE, content_type="text/html")
    page = visitor.see("/explore", tenant="reports", path="/total/views/article/601")
    assert page.dangers() == []


def test_a_huge_answer_makes_a_page_of_bounded_length(stage: Stage, visitor: Reader) -> None:
    plan(stage, {"breakdown": {"2014": {f"c{c}": {f"t{t}": 1 for t in range(100)} for c in range(2_000)}}})
    answer = visitor.client.get(
        "/explore", params={"tenant": "reports", "path": "/breakdown/year/views/group/700"}
    )
    assert answer.status_code == 200
    assert len(answer.text) < 5_000_000
    page = Sheet(answer)
    assert "200,000 views from 2,000 countries" in page.text
    assert "1,500 more countries are not shown here" in page.text
    (whole,) = [each["href"] for each in page.all("a") if each["href"].startswith("/api/")]
    assert len(visitor.client.get(whole).json()["json"]["breakdown"]["2014"]) == 2_000


def test_with_many_tenants_their_ids_are_typed(stage: Stage) -> None:
    registry = stage.folder / "many.toml"
    registry.write_text("".join(f"[tenants.t{number}]\n" for number in range(201)))
    gateway = stage.serve(registry=registry)
    with Reader(f"http://127.0.0.1:{gateway.admin_port}", TOKEN) as many:
        page = many.see("/explore", tenant="t7")
        assert page.all("input", name="tenant")[0]["value"] == "t7"
        assert not page.all("select", name="tenant")
        assert many.see("/cache").all("input", name="tenant")


def test_nobody_sees_it_without_signing_in(stage: Stage) -> None:
    stage.reset_calls()
    for page in ("/explore?tenant=reports&path=/total/views/article/900", "/cache"):
        answer = get(f"http://127.0.0.1:{stage.gateways[0].admin_port}{page}")
        assert (answer.status_code, answer.headers["location"].startswith("/sign-in?next=")) == (303, True)
    assert stage.calls()["total"] == 0


def test_the_policy_allows_no_script_but_ours(visitor: Reader) -> None:
    answer = visitor.client.get("/explore")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    for name in ("explore.js", "columns.js", "cache.js", "explore.css"):
        asset = visitor.client.get(f"/static/{name}")
        assert asset.status_code == 200
        assert "http://" not in asset.text.replace("http://www.w3.org/2000/svg", "")
