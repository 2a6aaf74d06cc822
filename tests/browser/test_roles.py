"""Who may only read sees nothing to change, and who is nobody sees nothing."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import WATCHER, Enter
from tests.browser.visitor import Visitor
from tests.integration.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUERY = "/lboro/timeline/month/views/group/2%3Fstart_date%3D2014-01-01%26end_date%3D2015-12-31"
PATHS = [
    "/tenants/reports",
    pytest.param("/tenants", marks=pytest.mark.exhaustive),
    pytest.param(f"/cache?tenant=reports&path={QUERY}", marks=pytest.mark.exhaustive),
]
CHANGES = """main form[method=post], main a[href*="+new"], main a[href$="/edit"], main a[href$="/remove"],
  main a[href*="/credential"], main a[href$="/rotate"], main a[href$="/revoke"]"""


async def test_a_wrong_token_is_told_and_the_right_one_goes_where_one_was_going(enter: Enter) -> None:
    somebody = await enter(role=None)
    somebody.witness.expects(r"status of 401")
    await somebody.goes("/tenants/reports")
    await somebody.is_at("/sign-in?next=%2Ftenants%2Freports")
    await somebody.signs_in("wrong")
    await expect(somebody.page.get_by_role("alert")).to_have_text("This is none of the gateway's admin tokens.")
    await somebody.signs_in(WATCHER)
    await somebody.is_at("/tenants/reports")
    await expect(somebody.page.get_by_text("read-only")).to_be_visible()


@pytest.mark.parametrize("path", PATHS)
async def test_who_may_only_read_sees_nothing_to_change(enter: Enter, path: str) -> None:
    assert await changes(await enter(role="watcher"), path) == 0
    assert await changes(await enter(), path) > 0


async def test_who_may_only_read_is_refused_what_they_do_not_see(enter: Enter, console_stage: Stage) -> None:
    watcher = await enter(role="watcher")
    watcher.witness.expects(r"status of 403")
    key = console_stage.keys["reports"][4:14]
    for path in ("/tenants/+new", "/tenants/reports/edit", f"/tenants/reports/keys/{key}/revoke"):
        await watcher.goes(path)
        await expect(watcher.page.get_by_role("alert")).to_contain_text("may only read")
        assert await watcher.page.locator(CHANGES).count() == 0


async def changes(somebody: Visitor, path: str) -> int:
    """How much there is on a page that leads to a change."""
    await somebody.goes(path)
    return await somebody.page.locator(CHANGES).count()
