"""The Cache page on a real gateway and a real Redis: looking up, and purging in two steps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.admin.web.reader import Reader, Sheet
from tests.admin.web.visitor import SETTINGS, TOKEN, WATCHING
from tests.integration.stage import Stage, get, staged
from tests.redis_server import RedisServer

LBORO = "/lboro/timeline/day/views/article/{}?start_date=2014-01-01&end_date=2014-03-01"


@pytest.fixture(scope="module")
def stage(shared_redis: RedisServer) -> Iterator[Stage]:
    settings = {"redis_url": shared_redis.url, "redis_prefix": "cachepage", "budget": "unlimited"}
    with staged(**settings, **SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        yield stage


@pytest.fixture(scope="module")
def visitor(stage: Stage) -> Iterator[Reader]:
    with Reader(f"http://127.0.0.1:{stage.gateways[0].admin_port}", TOKEN) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def watcher(stage: Stage) -> Iterator[Reader]:
    with Reader(f"http://127.0.0.1:{stage.gateways[0].admin_port}", WATCHING) as visitor:
        yield visitor


def stored(stage: Stage, article: int) -> str:
    """The path of an answer that is now in the cache."""
    path = LBORO.format(article)
    assert get(stage.gateways[0].url + path, headers={"X-API-Key": stage.keys["reports"]}).status_code == 200
    return path


def audits(stage: Stage, operation: str) -> list[str]:
    lines = stage.gateways[0].settled.splitlines()
    return [line for line in lines if '"event": "audit"' in line and operation in line]


def test_what_is_stored_is_shown_with_its_headers(stage: Stage, visitor: Reader) -> None:
    path = stored(stage, 801)
    stage.reset_calls()
    page = visitor.see("/cache", path=path, tenant="reports")
    assert page.status == 200
    assert "It would be served from the cache" in page.text
    for said in ("timeline", "article/801", "the credential for lboro", "closed", "content-type application/json"):
        assert said in page.text
    assert stage.calls()["total"] == 0
    assert page.dangers() == []
    (link,) = [each["href"] for each in page.all("a") if each["href"].startswith("/explore?")]
    assert "From the cache, fresh." in visitor.see(link).text


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({}, 200, "Look up what would become of a request"),
        ({"path": LBORO.format(802), "tenant": "reports"}, 200, "Nothing is stored that answers it."),
        ({"path": LBORO.format(802)}, 200, "Nobody may ask without a key."),
        ({"path": "/no/such/endpoint", "tenant": "reports"}, 200, "Kept by its exact path"),
        ({"path": "/a//b", "tenant": "reports"}, 400, "an empty segment"),
        ({"path": "nonsense"}, 400, "A path begins with /"),
        ({"path": "/total/views/article/1", "tenant": "nobody"}, 404, "There is no such tenant."),
        ({"path": "<script>alert(1)</script>", "tenant": "\"'><script>"}, 400, "A path begins with /"),
        ({"path": "/a?b='\"", "tenant": "reports"}, 400, "must be percent-encoded"),
    ],
)
def test_what_is_not_stored_is_said(visitor: Reader, query: dict[str, str], status: int, said: str) -> None:
    page = visitor.see("/cache", **query)
    assert page.status == status
    assert said in page.text
    assert page.dangers() == []


def test_what_is_stored_is_shown_by_family_beside_redis_memory(stage: Stage, visitor: Reader) -> None:
    stored(stage, 804)
    page = visitor.see("/cache/stored")
    assert page.dangers() == []
    for said in ("Timeline", "records", "Keys evicted 0", "without a limit (maxmemory)", "noeviction"):
        assert said in page.text


def test_an_error_record_is_shown(visitor: Reader) -> None:
    explored = visitor.see("/explore", path="/total/hugs/article/803", tenant="reports")
    assert "400 Invalid or unsupported params: counter" in explored.text
    page = visitor.see("/cache", path="/total/hugs/article/803", tenant="reports")
    assert "The service's own error 400 is remembered" in page.text


@pytest.mark.parametrize(("how", "verdict"), [("soft", "as stale"), ("hard", "The service would be asked")])
def test_a_purge_is_previewed_and_confirmed_and_audited(
    stage: Stage, visitor: Reader, how: str, verdict: str
) -> None:
    path = stored(stage, 811 if how == "soft" else 812)
    wanted = {"path": path, "tenant": "reports", "subject": "query", "how": how}
    before = len(audits(stage, "POST /api/purge"))
    doubt = Sheet(visitor.client.post("/cache/purge", data=wanted | {"csrf": visitor.csrf}))
    assert doubt.status == 200
    assert "It would cover 1 of the" in doubt.text
    assert "served from the cache" in visitor.see("/cache", path=path, tenant="reports").text
    assert len(audits(stage, "POST /api/purge")) == before
    done = visitor.follow(visitor.client.post("/cache/purge", data=doubt.hidden()))
    assert f"Purged {'softly' if how == 'soft' else 'at once'}: the query {path}." in done.text
    assert verdict in done.text
    (line,) = audits(stage, "POST /api/purge")[before:]
    assert json.loads(line)["on"] == {"query": path} | ({"hard": True} if how == "hard" else {})
    assert json.loads(line)["admin"] == "admin"


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"subject": "item", "item": "article/821"}, "all about article/821"),
        ({"subject": "institution", "institution": "lboro"}, "all of lboro"),
        ({"subject": "all"}, "everything that is stored"),
    ],
)
def test_more_than_a_query_can_be_purged(stage: Stage, visitor: Reader, form: dict[str, str], named: str) -> None:
    path = stored(stage, 821)
    doubt = Sheet(visitor.send("/cache/purge", **form, how="soft", path=path, tenant="reports"))
    assert f"Purge {named} ?" in doubt.text.replace("?", " ?")
    done = visitor.follow(visitor.client.post("/cache/purge", data=doubt.hidden()))
    assert f"Purged softly: {named}." in done.text
    assert "as stale" in done.text


def test_purging_everything_at_once_needs_a_tick_besides(stage: Stage, visitor: Reader) -> None:
    form = {"subject": "all", "how": "hard", "confirmed": "yes"}
    before = len(audits(stage, "POST /api/purge"))
    unsure = Sheet(visitor.send("/cache/purge", **form))
    assert (unsure.status, "Tick the box" in unsure.text) == (400, True)
    assert unsure.all("input", name="sure")
    assert len(audits(stage, "POST /api/purge")) == before
    assert "Purged at once: everything" in visitor.follow(visitor.send("/cache/purge", **form, sure="yes")).text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "Choose what to purge"),
        ({"subject": "colour"}, "Choose what to purge"),
        ({"subject": "query"}, "Say which query to purge"),
        ({"subject": "item", "item": "articel/1"}, "Item must be like article/23"),
        ({"subject": "item", "item": "x" * 400}, "length"),
        ({"subject": "institution", "institution": "<script>"}, "institution"),
        ({"subject": "query", "path": "/a//b"}, "an empty segment"),
    ],
)
def test_what_cannot_be_purged_is_said(stage: Stage, visitor: Reader, form: dict[str, str], said: str) -> None:
    for confirmed in ({}, {"confirmed": "yes"}):
        page = Sheet(visitor.send("/cache/purge", **form, **confirmed))
        assert page.status == 400
        assert said in page.text
        assert page.dangers() == []


def test_who_may_only_read_sees_no_purge_and_does_none(stage: Stage, visitor: Reader, watcher: Reader) -> None:
    path = stored(stage, 831)
    page = watcher.see("/cache", path=path, tenant="reports")
    assert "It would be served from the cache" in page.text
    assert not page.all("form", action="/cache/purge")
    form = {"subject": "item", "item": "article/831", "how": "hard", "confirmed": "yes"}
    assert watcher.send("/cache/purge", **form).status_code == 403
    assert visitor.send("/cache/purge", **(form | {"csrf": "wrong"})).status_code == 403
    assert "served from the cache" in visitor.see("/cache", path=path, tenant="reports").text
