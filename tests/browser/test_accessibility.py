"""Everybody can use every page: axe-core finds nothing, light and dark, on a desk and on a phone."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.async_api import expect

from tests.browser.axe import faults
from tests.browser.conftest import LONG, Enter
from tests.browser.visitor import Visitor
from tests.integration.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS: dict[Literal["light", "dark"], tuple[int, int]] = {"light": (1280, 800), "dark": (360, 740)}
"""A desk and a phone, in pixels: colours and sizes do not depend on each other."""
WINDOW = "granularity=month&window=dates&start=2014-01-01&end=2015-12-31"
QUERY = "/lboro/timeline/month/views/group/2%3Fstart_date%3D2014-01-01%26end_date%3D2015-12-31"
ASK = "/explore?tenant=reports&institution=lboro&counter=views&item=group&item_id=2"
PLACES = {
    "overview": "/",
    "queue": "/queue",
    "tenants": "/tenants",
    "tenants, none found": "/tenants?search=nobody",
    "tenant": "/tenants/reports",
    "tenant with long words": f"/tenants/{LONG}",
    "tenant to add": "/tenants/+new",
    "tenant to edit": "/tenants/reports/edit",
    "tenant to remove": "/tenants/reports/remove",
    "credential to set": "/tenants/reports/credential",
    "credential to remove": "/tenants/reports/institutions/lboro/remove",
    "key to add": "/tenants/reports/keys/+new",
    "key to rotate": "/tenants/reports/keys/{key}/rotate",
    "key to revoke": "/tenants/reports/keys/{key}/revoke",
    "explore": "/explore",
    "explore a total": f"{ASK}&family=totals",
    "explore a timeline": f"{ASK}&family=timeline&{WINDOW}",
    "explore a breakdown": f"{ASK}&family=breakdown&{WINDOW}",
    "explore tops": "/explore?tenant=reports&institution=lboro&family=tops&counter=views&item=article&window=none",
    "explore what is refused": f"/explore?path={QUERY}",
    "explore what is malformed": "/explore?tenant=reports&path=/total/views/article/%2500",
    "cache": "/cache",
    "cache, looked up": f"/cache?tenant=reports&path={QUERY}",
    "reports": "/reports",
    "nobody's tenant": "/tenants/nobody",
    "nothing": "/nowhere",
    "admin API": "/docs",
}

USUAL = {"overview", "tenant to edit", "explore a timeline"}
"""A page that moves, a form, and a chart; all are for the exhaustive run."""


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(path, id=name, marks=() if name in USUAL else pytest.mark.exhaustive)
        for name, path in PLACES.items()
    ],
)
async def test_everybody_can_use(enter: Enter, console_stage: Stage, place: str) -> None:
    somebody = await enter()
    somebody.witness.expects(r"status of 40[03]", r"status of 404")
    await somebody.goes(place.format(key=console_stage.keys["reports"][4:14]))
    await opened(somebody)
    await audit(somebody)


async def test_everybody_can_sign_in(enter: Enter) -> None:
    somebody = await enter(role=None)
    somebody.witness.expects(r"status of 401")
    await somebody.goes("/sign-in?ended=1")
    await audit(somebody)
    await somebody.signs_in("wrong")
    await expect(somebody.page.get_by_role("alert")).to_have_text("This is none of the gateway's admin tokens.")
    await audit(somebody)


@pytest.mark.exhaustive
async def test_everybody_can_read_what_forms_lead_to(enter: Enter) -> None:
    somebody = await enter()
    somebody.witness.expects(r"status of 409")
    page = somebody.page
    await somebody.goes("/tenants/reports/keys/+new")
    await page.get_by_label("Label").fill("a" * 200)
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.get_by_role("heading", name="The new key")).to_be_visible()
    await audit(somebody)

    await somebody.goes("/tenants/+new")
    await page.get_by_label("Id", exact=True).fill("reports")
    await page.get_by_role("button", name="Add the tenant").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await audit(somebody)

    await somebody.goes(f"/cache?tenant=reports&path={QUERY}")
    await page.get_by_label("Everything that is stored").check()
    await page.get_by_label("At once").check()
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("button", name="Purge at once")).to_be_visible()
    await audit(somebody)


async def audit(somebody: Visitor) -> None:
    """The page in front of somebody, in both its looks."""
    for scheme, (width, height) in LOOKS.items():
        await somebody.page.emulate_media(color_scheme=scheme)
        await somebody.page.set_viewport_size({"width": width, "height": height})
        assert await faults(somebody.page) == [], f"{scheme}, {width} pixels wide"
        reach = await somebody.page.evaluate("document.documentElement.scrollWidth")
        assert reach <= width, "it scrolls sideways"


async def opened(somebody: Visitor) -> None:
    """Whatever can be unfolded is."""
    await somebody.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
