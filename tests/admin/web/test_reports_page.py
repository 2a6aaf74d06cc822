"""The Reports pages on a real gateway, over a real socket, as a browser without JavaScript has them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.web.conftest import admin_url
from tests.admin.web.reader import Reader, Sheet
from tests.admin.web.visitor import SETTINGS, TOKEN, WATCHING
from tests.integration.house import FakeClock, housed
from tests.integration.stage import Stage, staged, until

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>"
WISH = {
    "tenant": "reports",
    "institution": "lboro",
    "ids": "1\n2\n3",
    "counter_views": "on",
    "counter_shares": "on",
}
MONTHS = {"by": "month", "window": "dates", "start": "2015-01", "end": "2015-03"}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged("--no-examples", budget="unlimited", **SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        stage.tenant("dash", "monash")
        stage.tenant("leaving", "melbourne")
        stage.serve()
        yield stage


@pytest.fixture(scope="module")
def visitor(stage: Stage) -> Iterator[Reader]:
    with Reader(admin_url(stage.gateways[0]), TOKEN) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def watcher(stage: Stage) -> Iterator[Reader]:
    with Reader(admin_url(stage.gateways[0]), WATCHING) as visitor:
        yield visitor


@pytest.fixture(autouse=True)
def _calls(stage: Stage) -> None:
    stage.reset_calls()


def planned(visitor: Reader, file: bytes | None = None, /, **wish: str) -> Sheet:
    """The page that a form leads to, as browsers send one with a field for a file."""
    files = {"file": ("items.csv" if file else "", file or b"")}
    return Sheet(visitor.client.post("/reports", data={"csrf": visitor.csrf} | wish, files=files))


def started(visitor: Reader, **wish: str) -> str:
    """The page of a report that was planned and started."""
    page = planned(visitor, **wish)
    assert "The plan" in page.text, page.text
    hidden = {name: value for name, value in page.hidden().items() if name != "csrf"}
    answer = visitor.send("/reports", **hidden)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def made(visitor: Reader, where: str, state: str = "done") -> Sheet:
    until(lambda: f" {state} ·" in visitor.see(where).text)
    return visitor.see(where)


def test_the_form_offers_what_there_is_and_every_field_has_a_label(visitor: Reader) -> None:
    page = visitor.see("/reports")
    assert page.status == 200
    chosen = [each["value"] for each in page.all("option") if "selected" in each]
    assert chosen[:2] == ["dash", "monash"]
    assert [each["name"] for each in page.all("input", type="checkbox") if "checked" in each] == ["counter_views"]
    given = visitor.see("/reports", tenant="reports", institution="lboro")
    assert [each["value"] for each in given.all("option") if "selected" in each][:2] == ["reports", "lboro"]
    labels = {each["for"] for each in page.all("label") if "for" in each}
    fields = {each["id"] for tag in ("input", "select", "textarea") for each in page.all(tag) if "id" in each}
    assert fields <= labels
    assert page.all("a", href="/reports")[0]["aria-current"] == "page"
    assert page.dangers() == []


def test_nothing_is_asked_before_the_plan_is_started(stage: Stage, visitor: Reader) -> None:
    page = planned(visitor, **WISH | MONTHS)
    assert (page.status, page.dangers()) == (200, [])
    assert "6 calls at best" in page.text
    assert "lboro, article: views, shares by month, 2015-01-01 to 2015-03-31 · 3 items, as reports" in page.text
    assert "views each item by itself" in page.text
    assert stage.calls()["total"] == 0
    assert page.hidden()["confirmed"] == "yes"


def test_a_report_is_shown_with_its_sums_its_files_and_what_it_rests_on(stage: Stage, visitor: Reader) -> None:
    where = started(visitor, **WISH | MONTHS | {"ids": "11\n12\n13"})
    page = made(visitor, where)
    assert (page.status, page.dangers()) == (200, [])
    assert stage.calls()["total"] == 6
    found = visitor.client.get(f"{where}/file?format=json").json()
    sums = [sum(row["values"][at] for row in found["rows"]) for at in range(6)]
    numbers = [f"{row['id']} {' '.join(f'{each:,}' for each in row['values'])}" for row in found["rows"]]
    for row in [*numbers, f"All 3 {' '.join(f'{each:,}' for each in sums)}"]:
        assert row in page.text
    assert f"{sum(sums[:3]):,} views in 3 months" in page.text
    assert [each["data-value"] for each in page.all("td") if "data-value" in each] == [*map(str, sums)]
    assert "views 2015-01 to 2015-03 each item by itself" in page.text
    csv = visitor.client.get(f"{where}/file?format=csv")
    assert csv.headers["content-disposition"].endswith("-2015-01-01-to-2015-03-31.csv")
    assert csv.text.splitlines()[1] == ",".join(map(str, [11, *found["rows"][0]["values"], ""]))
    assert visitor.client.get(f"{where}/file?format=csv.json").json()["items"] == 3
    assert visitor.see(f"{where}/file", format="pdf").status == 400


def test_without_scripts_a_page_looks_again_while_its_job_runs(stage: Stage, visitor: Reader) -> None:
    again = '<noscript><meta http-equiv="refresh" content="5; url='
    stage.close_gate()
    try:
        where = started(visitor, **WISH | {"ids": "51", "method": "each"})
        running = visitor.client.get(where).text
    finally:
        stage.open_gate()
    assert f'{again}{where}?again=1"></noscript>' in running
    assert "All 1 " in made(visitor, where).text
    assert again not in visitor.client.get(where).text


@pytest.mark.parametrize(("query", "status"), [("", 404), ("?again=1", 303)])
async def test_a_page_that_looks_again_by_itself_keeps_no_session_alive(
    stage: Stage, query: str, status: int
) -> None:
    clock = FakeClock(time.time())
    async with housed(stage, clock) as house:
        del house.admin.headers["Authorization"]
        assert (await house.admin.post("/sign-in", data={"token": TOKEN})).status_code == 303
        statuses = []
        for _ in range(4):
            clock.time += 600
            statuses.append((await house.admin.get(f"/reports/{'0' * 32}{query}")).status_code)
        assert statuses == [404, 404, status, status]


async def test_where_tenants_are_too_many_to_choose_from_they_are_typed_and_where_there_are_none_that_is_said(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.admin.web.explore.MOST_TENANTS", 1)
    (tmp_path / "none.toml").touch()
    pages = []
    for registry in (stage.environment["STATS_GATEWAY_REGISTRY"], str(tmp_path / "none.toml")):
        async with housed(stage, registry=registry) as house:
            del house.admin.headers["Authorization"]
            await house.admin.post("/sign-in", data={"token": TOKEN})
            pages.append(Sheet(await house.admin.get("/reports?tenant=reports&institution=lboro")))
    typed, none = pages
    assert [typed.all("input", id=name)[0]["value"] for name in ("tenant", "institution")] == ["reports", "lboro"]
    assert "there are no tenants yet" in none.text
    assert none.all("form", id="order") == []


def test_the_table_is_sorted_by_its_headings(visitor: Reader) -> None:
    where = started(visitor, **WISH | {"ids": "2\n1\n3"})
    made(visitor, where)
    found = visitor.client.get(f"{where}/file?format=json").json()["rows"]
    links = [each["href"] for each in visitor.see(where).all("a") if "sort=" in each.get("href", "")]
    assert links[1] == f"{where}?sort=0&order=desc#table"
    page = visitor.see(links[1].partition("#")[0])
    assert [each.get("aria-sort") for each in page.all("th", scope="col") if "aria-sort" in each] == ["descending"]
    wanted = sorted(found, key=lambda row: (-row["values"][0], row["id"]))
    at = [page.text.index(" ".join(f"{each:,}" for each in (row["id"], *row["values"]))) for row in wanted]
    assert at == sorted(at)


def test_a_file_that_is_read_otherwise_is_said_by_line_and_one_that_cannot_be_too(visitor: Reader) -> None:
    page = planned(visitor, b"id;name\n1e1;A\n7;B\n7;C\n", **WISH)
    assert "line 2: 1e1 is read as 10" in page.text
    assert "2 items, as reports" in page.text
    assert page.hidden()["ids"] == "10\n7"
    wrong = planned(visitor, b"id\n1\nx\n\ny\n", **WISH)
    assert wrong.status == 400
    assert "Line 3: 'x' is no id. Line 5: 'y' is no id." in wrong.text
    (field,) = wrong.all("input", id="file")
    assert (field["aria-invalid"], "file-error" in field["aria-describedby"]) == ("true", True)


@pytest.mark.parametrize(
    ("more", "status", "field", "says"),
    [
        ({"ids": "1\nx"}, 400, "ids", "Line 2: 'x' is no id."),
        ({"ids": HOSTILE}, 400, "ids", "no id"),
        ({"institution": "monash", **MONTHS}, 403, "institution", "may not ask for this institution"),
        ({"tenant": "nobody"}, 404, "tenant", "There is no such tenant."),
        ({"tenant": HOSTILE, "institution": HOSTILE}, 404, "tenant", "There is no such tenant."),
        (MONTHS | {"start": HOSTILE}, 400, "start", "is no date"),
        (MONTHS | {"end": "2014"}, 400, "start", "is after 2014"),
        ({"max_calls": "-1"}, 400, "max-calls", "A whole number"),
        ({"by": "day"}, 400, "window", "need a window"),
    ],
)
@pytest.mark.parametrize("confirmed", [{}, {"confirmed": "yes"}], ids=["plan", "start"])
def test_what_cannot_be_ordered_is_said_at_its_field(
    stage: Stage,
    visitor: Reader,
    more: dict[str, str],
    status: int,
    field: str,
    says: str,
    confirmed: dict[str, str],
) -> None:
    page = planned(visitor, **WISH | more | confirmed)
    assert (page.status, says in page.text) == (status, True), page.text
    (wrong,) = [each for tag in ("input", "select", "textarea") for each in page.all(tag, id=field)]
    assert (wrong["aria-invalid"], f"{field}-error" in wrong["aria-describedby"]) == ("true", True)
    assert page.all("a", href=f"#{field}")
    assert page.dangers() == []
    assert stage.calls()["total"] == 0


def test_who_may_only_read_sees_plans_and_reports_but_starts_and_ends_none(
    visitor: Reader, watcher: Reader
) -> None:
    page = planned(watcher, **WISH)
    assert "calls at best" in page.text
    assert "confirmed" not in page.hidden()
    assert planned(watcher, **WISH | {"confirmed": "yes"}).status == 403
    where = started(visitor, **WISH | {"method": "each", "ids": "31\n32\n33\n34", "max_calls": "2"})
    page = made(watcher, where, "paused")
    assert [form["action"] for form in page.forms] == ["/sign-out"]
    for action in ("cancel", "continue"):
        assert watcher.send(f"{where}/{action}").status_code == 403
    assert visitor.follow(visitor.send(f"{where}/continue")).status == 200
    assert "All 4 " in made(watcher, where).text


def test_a_job_that_pauses_goes_on_within_more_calls_or_is_cancelled_and_that_is_in_the_audit_log(
    stage: Stage, visitor: Reader
) -> None:
    where = started(visitor, **WISH | {"method": "each", "ids": "41\n42\n43\n44", "max_calls": "2"})
    page = made(visitor, where, "paused")
    assert "It pauses: it would make more calls than it may." in page.text
    for most, says in (("1", "more than the"), ("x", "whole number"), ("9" * 20, "whole number")):
        wrong = Sheet(visitor.send(f"{where}/continue", max_calls=most))
        assert (wrong.status, says in wrong.text) == (400, True)
    assert "It goes on." in visitor.follow(visitor.send(f"{where}/continue", max_calls="4")).text
    made(visitor, where, "paused")
    assert "Cancelled it." in visitor.follow(visitor.send(f"{where}/cancel")).text
    again = Sheet(visitor.send(f"{where}/cancel"))
    assert (again.status, "The job has ended already." in again.text) == (409, True)
    lines = [json.loads(line) for line in stage.gateways[0].settled.splitlines() if '"audit"' in line]
    ours = [
        (each["operation"].rpartition("/")[2], each["status"])
        for each in lines
        if each["on"].get("job") == where[9:]
    ]
    assert ours[0] == ("reports", 202)
    assert [each for each in ours if each[0] == "continue"] == [("continue", 400), ("continue", 200)]
    assert ours[-2:] == [("cancel", 200), ("cancel", 409)]


def test_jobs_of_all_tenants_are_listed_batches_among_them(stage: Stage, visitor: Reader) -> None:
    where = started(visitor, **WISH)
    headers = {"X-API-Key": stage.keys["dash"], "Accept": "application/json"}
    visitor.client.post(
        f"{stage.gateways[0].url}/-/batch", json={"targets": ["/monash/total/views/article/9"]}, headers=headers
    )
    page = visitor.see("/reports")
    assert where in page.links
    assert "Report lboro, article: views, shares by total reports" in page.text
    batch = next(link for link in page.links if link.startswith("/reports/") and link != where)
    assert "Batch 1 targets dash" in page.text
    assert "Batch of 1 targets, for dash" in made(visitor, batch).text
    made(visitor, where)
    assert visitor.see(f"{batch}/file", format="csv").status == 404


def test_a_report_is_withheld_once_its_tenant_may_not_read_it(stage: Stage, visitor: Reader) -> None:
    wish = WISH | MONTHS | {"tenant": "leaving", "institution": "melbourne"}
    where = started(visitor, **wish)
    made(visitor, where)
    stage.registry().remove("leaving", "melbourne")
    until(lambda: visitor.see(where).status == 403)
    page = visitor.see(where)
    assert "The institution's credential is not this tenant's any more." in page.text
    assert "All 3" not in page.text
    assert visitor.see(f"{where}/file", format="csv").status == 403


def test_no_other_site_s_page_reads_a_report_or_has_one_made(stage: Stage, visitor: Reader) -> None:
    where = started(visitor, **WISH)
    made(visitor, where)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        page = Sheet(visitor.client.get(where, headers=headers))
        assert (page.status, "All 3" in page.text) == (403, False)
        assert visitor.client.get(f"{where}/file?format=csv", headers=headers).status_code == 403
        form = {"csrf": visitor.csrf, "confirmed": "yes"} | WISH
        assert visitor.client.post("/reports", data=form, headers=headers).status_code == 403
    assert visitor.client.post("/reports", data={"csrf": "x"} | WISH).status_code == 403
    assert visitor.client.post(f"{where}/cancel", data={"csrf": "x"}).status_code == 403


@pytest.mark.parametrize("job", ["0" * 32, "x", "%00", HOSTILE.replace("/", "")])
def test_a_job_that_is_not_there_is_said(visitor: Reader, job: str) -> None:
    for path in ("", "/file?format=csv"):
        page = visitor.see(f"/reports/{job}{path}")
        assert (page.status, page.dangers()) == (404, [])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=X", b'--X\r\nContent-Disposition: form-data; name="csrf"\r\n\r\nx'),
        ("multipart/form-data", b""),
        ("text/plain", b"csrf=x"),
        ("application/x-www-form-urlencoded", b"%ff=" * 300),
    ],
)
def test_nothing_that_is_sent_is_a_500(visitor: Reader, kind: str, body: bytes) -> None:
    answer = visitor.client.post("/reports", content=body, headers={"Content-Type": kind})
    assert answer.status_code == 400


def test_a_list_of_20_000_items_is_planned(visitor: Reader) -> None:
    many = "".join(f"{id}\r\n" for id in range(10**9, 10**9 + 20_000))
    page = planned(visitor, many.encode(), **WISH)
    assert "20,000 items, as reports" in page.text
    hidden = {name: value for name, value in page.hidden().items() if name != "csrf"}
    assert Sheet(visitor.send("/reports", **hidden | {"confirmed": "no"})).status == 200
    more = planned(visitor, f"{many}1\r\n".encode(), **WISH)
    assert (more.status, "20001 ids are more than 20000" in more.text) == (400, True)
