"""What holds for every page of the console: its policy, its escaping, who may change something, and no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from gateway.admin.web.pages import CSP
from tests.admin.web.conftest import Visit, admin_url
from tests.admin.web.visitor import TOKEN, WATCHING, Page, Visitor
from tests.integration.stage import Stage
from tests.loopback import LOOPBACK

HOSTILE = "\"'><script>alert(1)</script>{{ 7 * 7 }}<img src=x onerror=alert(1)>"
PASSWORD = "hunter2-lboro"


@pytest.fixture(scope="module")
def pages(fleet: Stage) -> Iterator[list[str]]:
    """Every page, about a tenant whose every text is hostile."""
    visitor = Visitor(admin_url(fleet.gateways[0]))
    visitor.sign_in()
    api = httpx.Client(base_url=visitor.client.base_url, headers={"Authorization": f"Bearer {TOKEN}"}, **LOOPBACK)
    texts = {"name": HOSTILE, "note": HOSTILE, "origins": ["https://pages.example"], "lifetimes": {"open": 90}}
    made = api.post("/api/tenants", json={"id": "hostile", **texts})
    assert made.status_code == 201, made.text
    pair = {"username": HOSTILE.replace(":", ""), "password": PASSWORD}
    assert api.put("/api/tenants/hostile/institutions/lboro", json=pair).status_code == 204
    key = api.post("/api/tenants/hostile/keys", json={"label": HOSTILE}).json()["id"]
    one = "/tenants/hostile"
    yield [
        "/",
        "/queue",
        "/cache/stored",
        "/tenants",
        f"/tenants?search={HOSTILE.replace('&', '%26')}",
        "/tenants?after=zzz",
        "/reports",
        "/tenants/+new",
        one,
        f"{one}/edit",
        f"{one}/remove",
        f"{one}/credential",
        f"{one}/credential?institution={HOSTILE}&username={HOSTILE}",
        f"{one}/institutions/lboro/remove",
        f"{one}/keys/+new",
        f"{one}/keys/{key}/rotate",
        f"{one}/keys/{key}/revoke",
    ]
    api.delete("/api/tenants/hostile")
    api.close()
    visitor.close()


def harmless(answer: httpx.Response) -> Page:
    """A page with the whole policy, on which nothing stands that the policy would forbid."""
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    page = Page(answer.text)
    assert page.forbidden == []
    assert "<script>" not in answer.text
    assert all(link.startswith(("/", "#")) for link in page.links)
    assert page.tags.count("h1") == 1
    assert {"html", "title", "main", "header"} <= set(page.tags)
    return page


def test_every_page_has_the_policy_and_escapes_what_others_wrote(visit: Visit, pages: list[str]) -> None:
    visitor = visit()
    for path in pages:
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        page = harmless(answer)
        assert "{{ 7 * 7 }}" in answer.text or "hostile" not in path, path
        assert PASSWORD not in answer.text
        for form in page.forms:
            assert form["method"] == "get" or form["fields"]["csrf"], path


def test_so_has_every_page_that_says_no(visit: Visit, pages: list[str]) -> None:
    watcher = visit(WATCHING)
    answers = [watcher.get(path) for path in ("/tenants/nobody", "/nothing", "/tenants/+new", "/tenants/x/y/z")]
    answers += [watcher.client.post("/tenants/hostile/edit", data={"csrf": "x"})]
    answers += [watcher.get("/tenants", headers={"Host": "evil.example"})]
    assert [each.status_code for each in answers] == [404, 404, 403, 404, 403, 403]
    for answer in answers:
        harmless(answer)
    stranger = visit(None)
    harmless(stranger.get("/sign-in"))
    harmless(stranger.sign_in("wrong"))


def test_programs_are_told_what_is_not_there_as_ever(visit: Visit) -> None:
    visitor = visit()
    assert visitor.get("/api/nothing").json()["code"] == "GatewayNotFound"
    assert visitor.get("/nothing", headers={"Accept": "*/*"}).json()["code"] == "GatewayNotFound"
    wrong = visitor.client.delete("/sign-in")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
    assert Page(wrong.text).tags.count("h1") == 1


def test_a_token_that_may_only_read_sees_every_page_but_no_control_that_changes_anything(
    visit: Visit, pages: list[str]
) -> None:
    watcher = visit(WATCHING)
    for path in ("/", "/queue", "/tenants", "/tenants/hostile"):
        page = watcher.page(path)
        changing = [form["action"] for form in page.forms if form["method"] == "post"]
        assert changing == ["/sign-out"]
        for link in page.links:
            assert not re.search(r"\+new|edit|remove|credential|rotate|revoke", link), link
        assert "read-only" in page.text


def test_it_is_refused_what_it_cannot_see_and_the_audit_log_has_it(
    visit: Visit, fleet: Stage, pages: list[str]
) -> None:
    watcher = visit(WATCHING)
    for path in pages:
        if watcher.get(path).status_code == 200:
            continue
        assert watcher.get(path).status_code == 403
    one = "/tenants/hostile"
    key = next(re.search(r"keys/(\w+)/rotate", path) for path in pages if "rotate" in path)
    assert key is not None
    changes = [
        "/tenants/+new",
        f"{one}/edit",
        f"{one}/remove",
        f"{one}/credential",
        f"{one}/institutions/lboro/remove",
        f"{one}/keys",
        f"{one}/keys/{key[1]}/rotate",
        f"{one}/keys/{key[1]}/revoke",
    ]
    before = visit().get(one).text
    for path in changes:
        answer = watcher.post(path, id="mine", name="mine", confirm="hostile", institution="x", label="mine")
        assert answer.status_code == 403, path
        assert "may only read" in answer.text
    after = visit().get(one).text
    assert re.sub(r'value="\w{64}"|content="\w{64}"', "", before) == re.sub(
        r'value="\w{64}"|content="\w{64}"', "", after
    )
    lines = [json.loads(line) for line in fleet.gateways[0].settled.splitlines() if '"event": "audit"' in line]
    refused = {each["operation"] for each in lines if (each["admin"], each["status"]) == ("watcher", 403)}
    assert "POST /tenants/{tenant}/keys/{key}/revoke" in refused
    assert len(refused) == len(changes)


@pytest.mark.parametrize("csrf", ["", "x", "é", "0" * 64])
def test_a_form_without_the_sessions_own_token_changes_nothing(visit: Visit, csrf: str) -> None:
    visitor = visit()
    answer = visitor.post("/tenants/reports/edit", csrf, name="mine")
    assert answer.status_code == 403
    assert "not of this session" in answer.text
    assert "mine" not in visitor.get("/tenants/reports").text


def test_nor_does_one_with_anothers_token_or_from_another_site(visit: Visit) -> None:
    visitor, other = visit(), visit()
    assert visitor.post("/tenants/reports/edit", other.csrf, name="mine").status_code == 403
    body = {"csrf": visitor.csrf, "name": "mine"}
    for headers in ({"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}):
        assert visitor.client.post("/tenants/reports/edit", data=body, headers=headers).status_code == 403
    assert visitor.client.post("/sign-out", data={"csrf": ""}).status_code == 403
    assert visitor.get("/tenants").status_code == 200


def test_the_api_takes_a_session_and_for_changes_its_token_too(visit: Visit) -> None:
    visitor, watcher = visit(), visit(WATCHING)
    assert visitor.get("/api/tenants").json()["total"] >= 2
    note = {"note": "by the page"}

    def patch(by: Visitor, **headers: str) -> int:
        return by.client.patch("/api/tenants/dash", json=note, headers=headers).status_code

    assert patch(visitor) == 403
    assert patch(visitor, **{"X-CSRF-Token": "x"}) == 403
    assert patch(visitor, **{"X-CSRF-Token": watcher.csrf}) == 403
    assert patch(watcher, **{"X-CSRF-Token": watcher.csrf}) == 403
    assert patch(visitor, **{"X-CSRF-Token": visitor.csrf}) == 200
    # What a proxy in front asks a browser for is no admin token; a wrong one is, and counts.
    assert patch(visitor, **{"X-CSRF-Token": visitor.csrf, "Authorization": "Basic eDp5"}) == 200
    assert patch(visitor, **{"X-CSRF-Token": visitor.csrf, "Authorization": "Bearer wrong"}) == 401
    csrf = visitor.csrf
    visitor.post("/sign-out", csrf)
    assert patch(visitor, **{"X-CSRF-Token": csrf}) == 401


def test_styles_and_scripts_are_the_consoles_own_and_loaded_anew_only_where_they_changed(visit: Visit) -> None:
    visitor = visit()
    assets = {
        link for path in ("/", "/tenants") for link in visitor.page(path).links if link.startswith("/static/")
    }
    assert {"/static/console.css", "/static/console.js", "/static/overview.js"} <= assets
    for path in assets:
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", answer.text), "nothing from elsewhere"
        again = visitor.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert visitor.get("/static/../web.py").status_code == 404
    assert visitor.get("/static/%2e%2e/web.py").status_code == 404


def test_the_api_page_is_still_there_and_linked(visit: Visit) -> None:
    visitor = visit()
    assert "/docs" in visitor.page("/tenants").links
    page = visitor.get("/docs").text
    assert "/api/purge/preview" in page
    assert '<nav><a href="/">' in page, "and leads back"
