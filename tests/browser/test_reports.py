"""Reports in a real browser: planned, started, watched, read, with JavaScript and without."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, expect

from tests.browser.conftest import Enter
from tests.browser.test_accessibility import audit, opened
from tests.browser.visitor import Visitor
from tests.integration.stage import Process, Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

IDS = "\n".join(map(str, range(1, 13)))


@contextmanager
def held(stage: Stage) -> Iterator[None]:
    """The service answers nobody meanwhile."""
    stage.close_gate()
    try:
        yield
    finally:
        stage.open_gate()


async def orders(somebody: Visitor, counters: tuple[str, ...] = ("Views",), ids: str = IDS) -> None:
    """Fills the form in for a report by month, and has the plan shown."""
    page = somebody.page
    await somebody.goes("/reports")
    form = page.locator("#order")
    await form.get_by_label("As whose request").select_option("reports")
    await form.get_by_label("Institution").select_option("lboro")
    await form.get_by_label("Ids, one to a line").fill(ids)
    for counter in ("Views", "Downloads", "Shares"):
        await form.get_by_label(counter, exact=True).set_checked(counter in counters)
    await form.get_by_label("Window").select_option("From … to …")
    await form.get_by_label("From", exact=True).fill("2015-01")
    await form.get_by_label("To", exact=True).fill("2015-12")
    await form.get_by_label("Columns").select_option("One for each month")
    await form.get_by_label("Made of").select_option("Each item by itself, exact")
    await form.get_by_role("button", name="Show the plan").click()
    await expect(page.get_by_role("heading", name="The plan")).to_be_visible()


async def test_a_report_is_planned_started_watched_and_read(enter: Enter, console_stage: Stage) -> None:
    somebody = await enter()
    page = somebody.page
    await orders(somebody, ("Views", "Shares"))
    await expect(page.get_by_role("main")).to_contain_text("24 calls at best")
    await audit(somebody)
    with held(console_stage):
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("heading", name="Progress")).to_be_visible()
        await expect(page.get_by_text("Planned: 24 calls at best")).to_be_visible()
        await expect(page.locator("[data-show=left]")).to_have_text("24")
        await audit(somebody)
        await page.evaluate("window.stays = true")
        await page.get_by_role("button", name="Cancel the job").focus()
    await expect(page.get_by_role("heading", name="The table")).to_be_visible()
    assert await page.evaluate("window.stays"), "nothing was loaded anew"
    await expect(page.locator("#said")).to_have_text("The job is done.")
    await expect(page.get_by_role("main")).to_be_focused()
    await opened(somebody)
    await audit(somebody)
    await has_the_numbers_of_its_file(page)
    await expect(page.locator("#chart-views svg .column")).to_have_count(12)
    await expect(page.locator("#chart-shares svg .column")).to_have_count(12)
    first = page.locator("table.report thead th").nth(1)
    await first.get_by_role("link").click()
    await expect(first).to_have_attribute("aria-sort", "descending")
    column = [int(each) for each in await page.locator("table.report tbody td:nth-child(2)").all_inner_texts()]
    assert column == sorted(column, reverse=True)


async def has_the_numbers_of_its_file(page: Page) -> None:
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="CSV").click()
    download = await downloading.value
    assert download.suggested_filename.endswith("by-month-2015-01-01-to-2015-12-31.csv")
    rows = list(csv.reader(io.StringIO(Path(await download.path()).read_text(), newline="")))
    shown = page.locator("table.report tbody tr")
    assert await shown.count() == len(rows) - 1
    assert (await shown.first.inner_text()).split() == rows[1][:-1]
    sums = [str(sum(int(row[at]) for row in rows[1:])) for at in range(1, len(rows[0]) - 1)]
    assert (await page.locator("table.report tfoot td").all_inner_texts()) == sums


async def test_a_job_is_cancelled_while_it_runs_and_is_in_the_list(enter: Enter, console_stage: Stage) -> None:
    somebody = await enter()
    page = somebody.page
    await orders(somebody, ids="\n".join(map(str, range(50, 60))))
    with held(console_stage):
        await page.get_by_role("button", name="Start").click()
        await page.get_by_role("button", name="Cancel the job").click()
        await expect(page.get_by_role("status").first).to_contain_text("Cancelled it.")
    where = page.url
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Reports").click()
    row = page.get_by_role("row", name=re.compile("lboro, article: views by month")).first
    await expect(row).to_contain_text("cancelled")
    await row.get_by_role("link").first.click()
    await expect(page).to_have_url(where)


def uploaded(content: bytes) -> FilePayload:
    return {"name": "items.csv", "mimeType": "text/csv", "buffer": content}


async def test_a_file_is_uploaded_and_what_is_wrong_in_it_is_said_beside_its_field(enter: Enter) -> None:
    somebody = await enter()
    somebody.witness.expects(r"status of 400")
    page = somebody.page
    await somebody.goes("/reports")
    await page.get_by_label("As whose request").select_option("reports")
    file = page.get_by_label("Or a CSV file")
    await file.set_input_files(uploaded(b"id;title\n1;A\n1O23;B\n"))
    await page.get_by_role("button", name="Show the plan").click()
    await expect(file).to_have_accessible_description(re.compile("Line 3: '1O23' is no id"))
    await audit(somebody)
    await page.get_by_role("link", name="The file").click()
    await expect(page).to_have_url(re.compile("#file$"))
    await file.set_input_files(uploaded(b"id;title\n1;A\n1e1;B\n"))
    await page.get_by_role("button", name="Show the plan").click()
    await expect(page.get_by_text("line 3: 1e1 is read as 10")).to_be_visible()
    await expect(page.get_by_label("Ids, one to a line")).to_have_value("1\n10")


async def test_without_javascript_it_is_done_by_reloading(enter: Enter, console_stage: Stage) -> None:
    somebody = await enter(java_script_enabled=False)
    page = somebody.page
    await orders(somebody, ids="\n".join(map(str, range(70, 75))))
    with held(console_stage):
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("heading", name="Progress")).to_be_visible()
    # Playwright's Chromium runs no script, but leaves out what is for browsers without any, the refresh among it.
    while not await page.get_by_role("heading", name="The table").count():
        await page.reload()
    await expect(page.locator("table.report tbody tr")).to_have_count(5)
    await expect(page.locator("#chart-views-data tbody tr")).to_have_count(12)


async def test_the_form_offers_what_its_tenant_holds_and_shows_what_belongs_to_its_choices(
    enter: Enter, gateway: Process
) -> None:
    somebody = await enter()
    page = somebody.page
    await somebody.goes("/reports")
    await expect(page.get_by_label("From", exact=True)).to_be_hidden()
    await page.get_by_label("Window").select_option("dates")
    await expect(page.get_by_label("From", exact=True)).to_be_visible()
    await page.get_by_label("Which").select_option("all")
    await expect(page.get_by_label("Ids, one to a line")).to_be_hidden()
    await page.get_by_label("As whose request").select_option("reports")
    shown = page.locator("#institution option:not([hidden])")
    await expect(shown).to_have_text(["lboro", "monash"])
