"""The pictures of the console in docs/images, made anew by ``make screenshots``: light, dark, and on a phone."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

from PIL import Image
from playwright.async_api import Browser, Page, expect

from gateway.observe.counters import MINUTE
from tests.browser.chromium import chromium
from tests.browser.conftest import ADMIN, admin_url, signed_in
from tests.browser.scenery import an_hour
from tests.browser.traffic import traffic
from tests.browser.witness import Witness
from tests.integration.stage import Stage, staged, until
from tests.redis_server import redis_server

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PREFIX = "pictures"
COLOURS = 256
SETTLED = 15
"""Seconds into a minute, from which on a few misses do not outweigh all else that it had."""
PAUSE = 0.2
"""Seconds between two requests while the pictures are taken."""
TENANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "reports": (("lboro", "monash"), {"name": "Report scripts", "limits": {"requests_per_day": 50_000}}),
    "dashboards": (("monash", "melbourne"), {"name": "Dashboards", "limits": {"requests_per_day": 30_000}}),
    "library": (("lboro",), {"name": "Library website", "limits": {"requests_per_second": 5.0, "burst": 20}}),
    "kiosk": (("melbourne",), {"name": "Kiosk in the foyer", "limits": {"requests_per_day": 2_500}}),
}
IDLE: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "annual-review": (("lboro",), {"name": "Annual review", "enabled": False}),
    "mobile-app": ((), {"name": "Mobile app"}),
}
"""Institutions, and what else is known of a tenant; of those that are busy, and of those that are not."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page, how high a picture of it is, and what a phone, which shows less of it, begins with."""

    path: str
    height: int
    first: str = "body"


@dataclass(frozen=True, slots=True)
class Look:
    """Colours and size of a browser, in CSS pixels, each of which is ``scale`` pixels of the picture; where the
    ``height`` is 0, it is the page's own."""

    scheme: Literal["light", "dark"]
    width: int
    height: int = 0
    scale: int = 1


ASKED = "/lboro/timeline/month/views/group/2?start_date=2014-01-01&end_date=2017-12-31"
FIELDS = {"institution": "lboro", "family": "timeline", "counter": "views", "item": "group", "item_id": "2"}
WINDOW = {"granularity": "month", "window": "dates", "start": "2014-01-01", "end": "2017-12-31"}
PAGES = {
    "overview": Picture("/", 1_080),
    "tenants": Picture("/tenants", 520),
    "explore": Picture("/explore?" + urlencode({"tenant": "reports"} | FIELDS | WINDOW), 900, "#question"),
    "cache": Picture("/cache?" + urlencode({"tenant": "reports", "path": ASKED}), 1_180),
}
ORDER = {"Window": "From … to …", "Columns": "One for each month", "Which": "All listed"}
MONTHS = {"From": "2015-01", "To": "2015-12"}
PROGRESS = 12
"""Calls that a report has made when it is taken under way."""
LOOKS = {"light": Look("light", 1_280), "dark": Look("dark", 1_280), "phone": Look("light", 360, 800, 2)}


@contextmanager
def demonstrated() -> Iterator[Stage]:
    """A fleet of two with a past, and traffic still to come."""
    settings = {"budget": "1/s", "public_url": "https://stats.example.org", "admin_token": ADMIN}
    with redis_server() as redis, staged(redis_url=redis.url, redis_prefix=PREFIX, **settings) as stage:
        for tenant, (institutions, known) in (TENANTS | IDLE).items():
            stage.tenant(tenant, *institutions)
            stage.registry().change(tenant, **known)
        busy = {tenant: stage.keys[tenant] for tenant in TENANTS}
        until(lambda: time.time() % MINUTE > SETTLED)
        asyncio.run(an_hour(redis.url, PREFIX, busy, time.time()))
        stage.serve()
        stage.serve()
        yield stage


async def take_all(stage: Stage) -> None:
    """All pages in all looks."""
    gateway = stage.gateways[0]
    name, secret = signed_in(admin_url(gateway), ADMIN)
    cookie = {"name": name, "value": secret, "url": admin_url(gateway)}
    IMAGES.mkdir(exist_ok=True)
    async with chromium() as browser, traffic(gateway, stage.keys["reports"], PAUSE):
        for name, look in LOOKS.items():
            await take(browser, cookie, name, look)


async def take(browser: Browser, cookie: Any, name: str, look: Look) -> None:
    """All pages in one look."""
    context = await browser.new_context(color_scheme=look.scheme, device_scale_factor=look.scale)
    witness = Witness(context, cookie["url"])
    await context.add_cookies([cookie])
    page = await context.new_page()
    for each, picture in PAGES.items():
        await page.set_viewport_size({"width": look.width, "height": look.height or picture.height})
        await page.goto(cookie["url"] + picture.path)
        if each == "overview":
            await expect(page.locator("figure rect.hit").last).to_be_visible()
        if look.height:
            await page.locator(picture.first).evaluate("(element) => element.scrollIntoView()")
        target = IMAGES / f"{each}-{name}.png"
        save(await page.screenshot(animations="disabled"), target)
        print(f"{target.name}: {target.stat().st_size // 1_000} kB")
    await context.close()
    assert witness.faults == []


@contextmanager
def reporting() -> Iterator[Stage]:
    """A gateway in front of a service with enough items for a report."""
    with staged("--no-examples", "--items", "400", budget="2/s", admin_token=ADMIN) as stage:
        for tenant, (institutions, known) in TENANTS.items():
            stage.tenant(tenant, *institutions)
            stage.registry().change(tenant, **known)
        stage.serve()
        yield stage


async def take_report(stage: Stage) -> None:
    """A report's plan, its progress, and what it came to, in all looks."""
    base = admin_url(stage.gateways[0])
    name, secret = signed_in(base, ADMIN)
    async with chromium() as browser, AsyncExitStack() as stack:
        pages: dict[str, Page] = {}
        for each, look in LOOKS.items():
            context = await browser.new_context(color_scheme=look.scheme, device_scale_factor=look.scale)
            await stack.enter_async_context(context)
            await context.add_cookies([{"name": name, "value": secret, "url": base}])
            pages[each] = await context.new_page()
            await pages[each].set_viewport_size({"width": look.width, "height": look.height or 720})
            await plan_report(pages[each], base)
            first = "#plan" if look.height else "body"
            await take_one(pages[each], f"report-plan-{each}", first)
        await pages["light"].get_by_role("button", name="Start").click()
        await pages["light"].wait_for_url("**/reports/*")
        for each, page in pages.items():
            await page.goto(pages["light"].url)
            made = page.locator("[data-show=calls]")
            await expect(made).to_have_text(re.compile(rf"{PROGRESS}|[2-9]\d|1[3-9]"), timeout=60_000)
            await take_one(page, f"report-progress-{each}")
        for each, page in pages.items():
            await expect(page.get_by_role("heading", name="The table")).to_be_visible(timeout=120_000)
            await page.reload()  # without the notice
            await expect(page.locator("#chart-shares svg .column").last).to_be_visible()
            if not LOOKS[each].height:
                await page.set_viewport_size({"width": LOOKS[each].width, "height": 1_380})
            await take_one(page, f"report-{each}", "#sums" if LOOKS[each].height else "body")


async def plan_report(page: Page, base: str) -> None:
    """Fills the form in, and has the plan shown."""
    await page.goto(f"{base}/reports?tenant=reports&institution=lboro")
    form = page.locator("#order")
    for label, choice in ORDER.items():
        await form.get_by_label(label).select_option(choice)
    for label, date in MONTHS.items():
        await form.get_by_label(label, exact=True).fill(date)
    for counter in ("Downloads", "Shares"):
        await form.get_by_label(counter).check()
    await form.get_by_role("button", name="Show the plan").click()
    await expect(page.get_by_role("heading", name="The plan")).to_be_visible()


async def take_one(page: Page, name: str, first: str = "body") -> None:
    """What a window shows that begins with this."""
    await page.locator(first).evaluate("(element) => element.scrollIntoView()")
    target = IMAGES / f"{name}.png"
    save(await page.screenshot(animations="disabled"), target)
    print(f"{target.name}: {target.stat().st_size // 1_000} kB")


def save(picture: bytes, target: Path) -> None:
    """With so few colours that it is a third as large, and looks the same."""
    few = Image.open(BytesIO(picture)).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1)
    few.save(target, optimize=True)


if __name__ == "__main__":
    with demonstrated() as stage:
        asyncio.run(take_all(stage))
    with reporting() as stage:
        asyncio.run(take_report(stage))
