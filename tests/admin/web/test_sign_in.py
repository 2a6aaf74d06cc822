"""Signing in and out of the console, over real sockets, at two processes that share a Redis."""

from __future__ import annotations

import json
from typing import Any

import httpx2 as httpx
import pytest

from gateway.admin.sessions import COOKIE, PER_MINUTE
from tests.admin.web.conftest import Visit, admin_url
from tests.admin.web.visitor import TOKEN, WATCHING, Page, Visitor
from tests.integration.stage import Stage, get
from tests.loopback import LOOPBACK


def audits(stage: Stage, operation: str) -> list[dict[str, Any]]:
    """The lines of the audit log about an operation, of all processes."""
    lines = [line for each in stage.gateways for line in each.settled.splitlines() if '"event": "audit"' in line]
    return [found for line in lines if (found := json.loads(line))["operation"] == operation]


def test_the_right_token_opens_the_console_and_a_cookie_keeps_it_open(visit: Visit) -> None:
    visitor = visit(None)
    answer = visitor.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    (cookie,) = answer.headers.get_list("set-cookie")
    name, *flags = cookie.split("; ")
    assert name.startswith(f"{COOKIE}_")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(flags)
    assert "Secure" not in flags
    assert not any(flag.startswith(("Max-Age", "expires", "Domain")) for flag in flags)
    assert visitor.get("/tenants").status_code == 200


def test_a_trusted_proxy_that_tells_of_https_makes_the_cookie_secure(visit: Visit) -> None:
    visitor = visit(None)
    visitor.client.headers["X-Forwarded-Proto"] = "https"
    assert "Secure" in visitor.sign_in().headers["set-cookie"]


@pytest.mark.parametrize("token", ["", "wrong", f"{TOKEN} {TOKEN}", "é", "x" * 10_000])
def test_a_wrong_token_opens_nothing(visit: Visit, token: str) -> None:
    visitor = visit(None)
    answer = visitor.sign_in(token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "This is none of the gateway's admin tokens." in Page(answer.text).text
    assert f'value="{token}"' not in answer.text
    assert visitor.get("/tenants").status_code == 303


def test_wrong_tokens_are_limited_for_an_address_and_the_right_one_never(visit: Visit) -> None:
    visitor, other = visit(None), visit(None)
    statuses = [visitor.sign_in("wrong").status_code for _ in range(PER_MINUTE + 5)]
    assert statuses[:PER_MINUTE] == [401] * PER_MINUTE
    answer = visitor.sign_in("wrong")
    assert answer.status_code == statuses[-1] == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "Too many wrong admin tokens from this address. Try again in" in Page(answer.text).text
    assert other.sign_in("wrong").status_code == 401
    assert [visitor.sign_in(TOKEN).status_code for _ in range(PER_MINUTE + 5)] == [303] * (PER_MINUTE + 5)
    assert visitor.sign_in("wrong").status_code == 429


def test_whoever_is_not_signed_in_is_asked_to_and_comes_back_to_where_they_wanted(visit: Visit) -> None:
    visitor = visit(None)
    answer = visitor.get("/tenants/reports?x=1&y=%2F")
    assert answer.status_code == 303
    asked = visitor.page(answer.headers["location"])
    fields = asked.forms[0]["fields"]
    assert fields["next"] == "/tenants/reports?x=1&y=%2F"
    assert visitor.sign_in(next=fields["next"]).headers["location"] == fields["next"]
    assert visitor.get("/sign-in?next=/tenants").headers["location"] == "/tenants"


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "tenants", "\n"],
)
def test_nobody_is_sent_to_another_site_after_signing_in(visit: Visit, wanted: str) -> None:
    assert visit(None).sign_in(next=wanted).headers["location"] == "/"


def test_every_process_of_the_fleet_knows_a_session(visit: Visit, fleet: Stage) -> None:
    visitor, other = visit(), visit(None, fleet.gateways[1])
    other.copy(visitor)
    assert other.get("/tenants").status_code == 200
    visitor.post("/sign-out")
    assert other.get("/tenants").status_code == 303


def test_signing_out_ends_the_session_also_for_a_copy_of_the_cookie(visit: Visit) -> None:
    visitor, thief = visit(), visit(None)
    thief.copy(visitor)
    assert thief.get("/tenants").status_code == 200
    answer = visitor.post("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert visitor.cookies == {}
    gone = thief.get("/tenants")
    assert gone.headers["location"] == "/sign-in?ended=1&next=%2Ftenants"
    assert "Your session has ended" in thief.page(gone.headers["location"]).text


def test_a_link_signs_nobody_out(visit: Visit) -> None:
    visitor = visit()
    assert visitor.get("/sign-out").headers["location"] == "/"
    assert visitor.get("/tenants").status_code == 200


def test_who_follows_a_link_from_another_site_is_asked_to_come_again_with_the_cookie(visit: Visit) -> None:
    visitor = visit(None)
    from_elsewhere = visitor.get("/sign-in?next=/tenants", headers={"Sec-Fetch-Site": "cross-site"})
    assert from_elsewhere.headers["refresh"] == "0"
    assert "refresh" not in visitor.get("/sign-in", headers={"Sec-Fetch-Site": "same-origin"}).headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_a_form_of_another_site_signs_nobody_in(visit: Visit, headers: dict[str, str]) -> None:
    visitor = visit(None)
    answer = visitor.client.post("/sign-in", data={"token": TOKEN}, headers=headers)
    assert answer.status_code == 403
    assert visitor.cookies == {}


def test_the_sites_own_form_signs_in(visit: Visit) -> None:
    visitor = visit(None)
    own = {"Origin": str(visitor.client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert visitor.client.post("/sign-in", data={"token": TOKEN}, headers=own).status_code == 303
    del own["Sec-Fetch-Site"]
    assert visitor.client.post("/sign-in", data={"token": TOKEN}, headers=own).status_code == 303


def test_attempts_and_endings_are_in_the_audit_log_without_the_token(visit: Visit, fleet: Stage) -> None:
    visitor = visit(None)
    address = visitor.client.headers["X-Forwarded-For"]
    visitor.sign_in("hunter2-guess")
    visitor.sign_in(WATCHING)
    lines = [each for each in audits(fleet, "POST /sign-in") if each["on"] == {"address": address}]
    assert [(each["admin"], each["status"]) for each in lines] == [("nobody", 401), ("watcher", 303)]
    visitor.post("/sign-out")
    assert audits(fleet, "POST /sign-out")[-1]["admin"] == "watcher"
    assert not any("hunter2" in each.output for each in fleet.gateways)


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "é" * 43, "a" * 5_000])
def test_a_made_up_cookie_opens_nothing(visit: Visit, cookie: str) -> None:
    visitor, (name,) = visit(None), visit().cookies
    header = [(b"Cookie", f"{name}={cookie}".encode())]
    assert visitor.client.get("/tenants", headers=header).status_code == 303


def test_a_host_that_is_not_ours_sees_nothing(visit: Visit) -> None:
    visitor = visit()
    for path in ("/", "/sign-in", "/tenants", "/tenants/reports", "/static/console.css"):
        answer = visitor.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 403
        assert "Report" not in answer.text
    assert (
        visitor.client.post("/sign-in", data={"token": TOKEN}, headers={"Host": "evil.example"}).status_code == 403
    )


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("application/x-www-form-urlencoded", b"token=%ff", 400),
        ("application/x-www-form-urlencoded", b"\xff\xfe", 400),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(500)), 400),
        ("application/x-www-form-urlencoded", b"token=" + b"x" * 70_000, 413),
        ("multipart/form-data; boundary=x", b"--x--", 400),
        ("", b"", 400),
    ],
)
def test_what_is_no_form_is_refused_in_good_order(visit: Visit, kind: str, body: bytes, status: int) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert visit(None).client.post("/sign-in", content=body, headers=headers).status_code == status


def test_without_a_token_the_console_says_how_to_set_one(fleet: Stage) -> None:
    gateway = fleet.serve(admin_token="", admin_tokens="{}")
    for path in ("/", "/sign-in", "/tenants"):
        answer = get(admin_url(gateway) + path)
        assert answer.status_code == 503
        assert "STATS_GATEWAY_ADMIN_TOKEN" in answer.text
    with httpx.Client(**LOOPBACK) as client:
        assert client.post(admin_url(gateway) + "/sign-in", data={"token": ""}).status_code == 503


def test_a_role_that_changed_or_a_token_that_went_ends_its_sessions(visit: Visit, fleet: Stage) -> None:
    promoted = json.dumps({"watcher": {"digest": "sha256:" + "0" * 64, "role": "read-only"}})
    changed = fleet.serve(admin_tokens=promoted, admin_token="another")
    for token in (TOKEN, WATCHING):
        visitor, again = visit(token), Visitor(admin_url(changed))
        again.copy(visitor)
        assert again.get("/tenants").status_code == 303
        again.close()
