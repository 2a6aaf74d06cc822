"""An operator looks after tenants in the console, over real sockets."""

from __future__ import annotations

import html
import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.tenants.schema import TenantTable
from tests.admin.web.conftest import Visit
from tests.admin.web.visitor import Page, Visitor
from tests.integration.stage import Stage, get, until

TOTALS = "/total/views/article/77"


def shown_key(answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    return Page(answer.text).by_id["key"].strip()


def works(fleet: Stage, key: str) -> bool:
    return get(fleet.gateways[0].url + TOTALS, headers={"X-API-Key": key}).status_code == 200


def audited(fleet: Stage, operation: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in fleet.gateways[0].settled.splitlines() if '"event": "audit"' in line]
    return [each for each in lines if each["operation"] == operation]


def test_a_tenant_lives_through_its_pages(visit: Visit, fleet: Stage) -> None:
    visitor = visit()
    added = visitor.post(
        "/tenants/+new", id="lib", name="Library", note="Ask Ann", enabled="on", requests_per_day="100", share="2"
    )
    assert (added.status_code, added.headers["location"]) == (303, "/tenants/lib")
    page = visitor.page("/tenants/lib")
    assert "Added the tenant lib." in page.text
    assert "0 of 100" in page.text
    assert "Added the tenant" not in visitor.page("/tenants/lib").text, "told once"

    pair = {"institution": "lboro", "username": "lboro", "password": "sandbox-lboro"}
    assert visitor.post("/tenants/lib/credential", **pair).status_code == 303
    assert "sandbox-lboro" not in visitor.get("/tenants/lib").text
    made = visitor.post("/tenants/lib/keys", label="cron")
    key = shown_key(made)
    until(lambda: works(fleet, key))
    assert key not in visitor.get("/tenants/lib").text, "shown once"
    assert visitor.get("/tenants/lib/keys").headers["location"] == "/tenants/lib"

    rotated = visitor.post(f"/tenants/lib/keys/{key[4:14]}/rotate", overlap="0")
    other = shown_key(rotated)
    assert "ends at once" in Page(rotated.text).text
    until(lambda: works(fleet, other) and not works(fleet, key))
    assert visitor.post(f"/tenants/lib/keys/{other[4:14]}/revoke").status_code == 303
    until(lambda: not works(fleet, other))
    assert "revoked" in visitor.page("/tenants/lib").text

    assert visitor.post("/tenants/lib/institutions/lboro/remove").status_code == 303
    assert "No credentials" in visitor.page("/tenants/lib").text
    assert visitor.post("/tenants/lib/remove", confirm="library").status_code == 400
    assert visitor.post("/tenants/lib/remove", confirm="lib").headers["location"] == "/tenants"
    assert visitor.get("/tenants/lib").status_code == 404


def test_the_curl_line_of_a_new_key_works_as_it_stands(visit: Visit, fleet: Stage) -> None:
    made = visit().post("/tenants/reports/keys")
    words = shlex.split(Page(made.text).by_id["curl"])
    assert words[:2] == ["curl", "-H"]
    name, _, value = words[2].partition(": ")
    assert words[3] == f"{fleet.gateways[0].url}/lboro/top/views/article"
    until(lambda: get(words[3], headers={name: value}).status_code == 200)


def test_changes_by_a_page_are_in_the_audit_log_as_the_apis_are(visit: Visit, fleet: Stage) -> None:
    visitor = visit()
    visitor.post("/tenants/+new", id="logged", enabled="on")
    assert audited(fleet, "POST /api/tenants")[-1] | {"timestamp": ""} == {
        "event": "audit",
        "level": "info",
        "admin": "admin",
        "operation": "POST /api/tenants",
        "on": {"tenant": "logged"},
        "status": 201,
        "timestamp": "",
    }
    made = shown_key(visitor.post("/tenants/logged/keys"))
    line = audited(fleet, "POST /api/tenants/{tenant}/keys")[-1]
    assert (line["on"], line["status"]) == ({"tenant": "logged", "new_key": made[4:14]}, 201)
    visitor.post("/tenants/logged/credential", institution="top", username="u", password="hunter2-secret")
    line = audited(fleet, "PUT /api/tenants/{tenant}/institutions/{institution}")[-1]
    assert line["status"] == 400
    visitor.post("/tenants/logged/remove", confirm="logged")
    assert audited(fleet, "DELETE /api/tenants/{tenant}")[-1]["on"] == {"tenant": "logged"}
    output = fleet.gateways[0].settled
    assert made not in output
    assert "hunter2-secret" not in output


def edit(visitor: Visitor, tenant: str, **changes: str) -> Any:
    """Sends a tenant's form with some fields changed."""
    path = f"/tenants/{tenant}/edit"
    answer = visitor.get(path)
    (form,) = [each for each in Page(answer.text).forms if each["action"] == path]
    kept = {name: value for name, value in form["fields"].items() if name != "enabled"}
    for name in ("note", "origins", "networks"):
        found = re.search(rf'<textarea[^>]* name="{name}"[^>]*>(.*?)</textarea>', answer.text, re.DOTALL)
        assert found is not None
        kept[name] = html.unescape(found[1])
    if 'name="enabled" checked' in answer.text:
        kept["enabled"] = "on"
    return visitor.client.post(
        path, data={name: value for name, value in (kept | changes).items() if value != "-"}
    )


def test_editing_changes_what_changed_and_nothing_else(visit: Visit) -> None:
    visitor = visit()
    visitor.post("/tenants/+new", id="edited", name="Before", enabled="on", burst="7", requests_per_second="0.5")
    answer = edit(
        visitor,
        "edited",
        note="Two\r\nlines",
        origins="https://a.example\nhttps://b.example:8443",
        networks="10.1.0.0/16\r\n2001:DB8:1::/48",
    )
    assert answer.status_code == 303, answer.text
    told = visitor.get("/api/tenants/edited").json()
    assert (told["name"], told["note"]) == ("Before", "Two\nlines")
    assert told["origins"] == ["https://a.example", "https://b.example:8443"]
    assert told["networks"] == ["10.1.0.0/16", "2001:db8:1::/48"]
    assert (told["limits"]["burst"], told["limits"]["requests_per_second"], told["enabled"]) == (7, 0.5, True)
    assert edit(visitor, "edited").status_code == 303
    assert "There was nothing to save." in visitor.page("/tenants/edited").text
    assert visitor.get("/api/tenants/edited").json() == told
    assert "10.1.0.0/16 2001:db8:1::/48 without a key" in visitor.page("/tenants/edited").text
    edit(visitor, "edited", name="", burst="", share="3", lifetime_open="90", enabled="-", origins="", networks="")
    told = visitor.get("/api/tenants/edited").json()
    assert (told["name"], told["limits"]["burst"], told["limits"]["share"]) == ("edited", None, 3.0)
    assert (told["lifetimes"], told["enabled"], told["origins"]) == ({"open": 90.0}, False, [])
    assert told["networks"] == []
    assert "Disabled: its keys open nothing" in visitor.page("/tenants/edited").text
    visitor.post("/tenants/edited/remove", confirm="edited")


def test_nobody_overwrites_what_they_have_not_seen(visit: Visit) -> None:
    visitor, other = visit(), visit()
    visitor.post("/tenants/+new", id="shared", enabled="on")
    path = "/tenants/shared/edit"
    (form,) = [each for each in visitor.page(path).forms if each["action"] == path]
    edit(other, "shared", name="Theirs")
    fields = form["fields"] | {"name": "Mine", "note": "", "origins": "", "enabled": "on"}
    answer = visitor.client.post(path, data=fields)
    assert answer.status_code == 400
    assert "Somebody else changed this tenant" in answer.text
    assert 'value="Mine"' in answer.text
    assert visitor.get("/api/tenants/shared").json()["name"] == "Theirs"
    (again,) = [each for each in Page(answer.text).forms if each["action"] == path]
    visitor.client.post(path, data=again["fields"] | {"note": "", "origins": "", "enabled": "on"})
    assert visitor.get("/api/tenants/shared").json()["name"] == "Mine"
    visitor.post("/tenants/shared/remove", confirm="shared")


PASTED = "sgw_AbCdEf9999_" + "x" * 43


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/tenants/+new", {"id": PASTED}),
        ("POST", "/tenants/+new", {"id": "x", "name": PASTED}),
        ("POST", "/tenants/reports/edit", {"note": f"theirs: {PASTED}"}),
        ("POST", "/tenants/reports/edit", {"origins": f"https://{PASTED}"}),
        ("POST", "/tenants/reports/edit", {"networks": PASTED}),
        ("POST", "/tenants/reports/keys", {"label": PASTED[:-1]}),
        ("POST", "/tenants/reports/credential", {"institution": PASTED, "username": "u", "password": "p"}),
        ("POST", "/tenants/reports/credential", {"institution": "x", "username": PASTED, "password": "p"}),
        ("POST", f"/tenants/reports/keys/{PASTED}/revoke", {}),
        ("POST", "/cache/purge", {"item": f"article/{PASTED}", "subject": "item"}),
        ("GET", "/tenants", {"search": PASTED}),
        ("GET", f"/tenants/{PASTED}", {}),
        ("GET", "/cache", {"path": "/", "tenant": PASTED}),
        ("GET", "/explore", {"path": f"/{PASTED}/total/views/article/1"}),
    ],
)
def test_a_key_pasted_into_a_form_is_refused_and_shown_nowhere(
    visit: Visit, fleet: Stage, method: str, path: str, fields: dict[str, str]
) -> None:
    visitor = visit()
    before = visitor.get("/api/tenants/reports").json()
    answer = visitor.post(path, **fields) if method == "POST" else visitor.get(path, params=fields)
    assert answer.status_code == 400
    assert "a gateway key was given where" in Page(answer.text).text.lower()
    assert PASTED[-20:] not in answer.text
    assert PASTED[-20:] not in "".join(each.output for each in fleet.gateways)
    assert visitor.get("/api/tenants/reports").json() == before


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/tenants/+new", {"id": "Bad Id"}, "tenant"),
        ("/tenants/+new", {"id": ""}, "tenant"),
        ("/tenants/+new", {"id": "reports"}, "'reports' exists"),
        ("/tenants/+new", {"id": "x", "burst": "many"}, "Burst: a whole number, or nothing."),
        ("/tenants/+new", {"id": "x", "burst": "1.5"}, "Burst: a whole number, or nothing."),
        ("/tenants/+new", {"id": "x", "requests_per_day": "0"}, "Requests a day: a number above 0, or nothing."),
        ("/tenants/+new", {"id": "x", "requests_per_second": "nan"}, "Requests a second: a number above 0"),
        ("/tenants/+new", {"id": "x", "share": "1e9"}, "share"),
        ("/tenants/+new", {"id": "x", "burst": "9" * 5_000}, "Burst"),
        ("/tenants/+new", {"id": "x", "lifetime_open": "-1"}, "Open windows: a number above 0, or nothing."),
        ("/tenants/+new", {"id": "x", "origins": "no origin"}, "origin"),
        ("/tenants/+new", {"id": "x", "networks": "10.1.2.3/16"}, "network"),
        ("/tenants/+new", {"id": "x", "name": "a\x00b"}, "name"),
        ("/tenants/+new", {"id": "x", "name": "n" * 201}, "name"),
        ("/tenants/reports/keys", {"label": "l" * 201}, "label"),
        ("/tenants/reports/keys", {"expires": "tomorrow"}, "must be like 2030-01-31"),
        ("/tenants/reports/keys", {"expires": "2001-01-01"}, "must not be over"),
        ("/tenants/reports/keys", {"expires": "9999-12-31"}, "must be like 2030-01-31"),
        ("/tenants/reports/credential", {"institution": "x", "username": "u"}, "a password are needed"),
        ("/tenants/reports/credential", {"institution": "a b", "username": "u", "password": "p"}, "institution"),
        ("/tenants/reports/credential", {"institution": "x", "username": "u:u", "password": "p"}, "username"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_comes_back_with_a_reason_and_all_that_was_typed(
    visit: Visit, path: str, fields: dict[str, str], said: str
) -> None:
    visitor = visit()
    answer = visitor.post(path, **fields)
    assert answer.status_code in (400, 409), answer.status_code
    page = Page(answer.text)
    assert said.lower() in page.text.lower()
    form = page.forms[-1]
    for name, value in fields.items():
        if name == "password":
            assert value not in page.text.split()
            assert not form["fields"]["password"], "never sent back"
        elif name in form["fields"] and name not in ("origins", "networks"):
            assert form["fields"][name] == value


@pytest.mark.parametrize(
    "path",
    ["", "/edit", "/remove", "/credential", "/institutions/x/remove", "/keys/+new", "/keys/AbCdEf1234/rotate"],
)
def test_a_tenant_that_is_not_there_is_said_to_be_none(visit: Visit, path: str) -> None:
    answer = visit().get(f"/tenants/nobody{path}")
    assert answer.status_code == 404
    assert "There is no such tenant." in Page(answer.text).text


def test_a_key_is_only_found_with_its_own_tenant(visit: Visit, fleet: Stage) -> None:
    key_id = fleet.keys["reports"][4:14]
    visitor = visit()
    for verb in ("rotate", "revoke"):
        assert visitor.get(f"/tenants/dash/keys/{key_id}/{verb}").status_code == 404
        assert visitor.post(f"/tenants/dash/keys/{key_id}/{verb}").status_code == 404
    assert works(fleet, fleet.keys["reports"])


def test_the_state_and_last_use_of_keys_and_usage_are_shown(visit: Visit, fleet: Stage) -> None:
    visitor = visit()
    visitor.post("/tenants/+new", id="states", enabled="on", requests_per_day="4")
    soon = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    shown_key(visitor.post("/tenants/states/keys", label="brief", expires=soon))
    key = shown_key(visitor.post("/tenants/states/keys", label="used"))
    until(lambda: works(fleet, key))
    until(lambda: "just now" in visitor.page("/tenants/states").text)
    text = visitor.page("/tenants/states").text
    assert re.search(r"brief .* ends soon", text)
    assert re.search(r"Requests today [1-4] of 4", text)
    assert re.search(rf"{datetime.now(UTC).date()} [1-9]", text)
    visitor.post("/tenants/states/remove", confirm="states")


def test_a_notice_is_nobodys_but_the_consoles(visit: Visit) -> None:
    visitor = visit()
    visitor.client.cookies.set("stats_gateway_notice", "0" * 64 + ".Call%20this%20number")
    assert "Call this number" not in visitor.get("/tenants").text


def test_many_tenants_are_found_page_by_page_and_by_search(visit: Visit, fleet: Stage) -> None:
    registry = fleet.registry()
    visitor = visit()
    ids = [f"many-{number:03}" for number in range(120)]
    registry.store.edit({each: _put(each) for each in ids})
    until(lambda: visitor.get("/api/tenants?limit=1").json()["total"] >= 122)
    seen: list[str] = []
    path = "/tenants"
    for _ in range(10):
        page = visitor.page(path)
        seen += [
            link.rpartition("/")[2] for link in page.links if link.startswith("/tenants/") and "+" not in link
        ]
        following = re.search(r'rel="next" href="([^"]+)"', visitor.get(path).text)
        if following is None:
            break
        path = html.unescape(following[1])
    assert [each for each in seen if each.startswith("many")] == ids
    assert seen == sorted(seen)
    back = re.search(r'rel="prev" href="([^"]+)"', visitor.get(path).text)
    assert back is not None
    assert "51 to 100 of" in visitor.page(html.unescape(back[1])).text
    found = visitor.page("/tenants?search=NUMBER 07")
    assert "10 tenants with “NUMBER 07”" in found.text
    assert "No tenant has “zzz”" in visitor.page("/tenants?search=zzz").text
    assert visitor.get("/tenants?search=" + "x" * 3_000).status_code == 200
    registry.store.edit({each: lambda _: None for each in ids})


def _put(tenant_id: str) -> Any:
    return lambda _: TenantTable(name=f"Department number {tenant_id[-3:]}")
