"""The first page while the gateway comes and goes."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Enter
from tests.integration.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_it_says_when_the_gateway_is_gone_and_goes_on_when_it_is_back(
    enter: Enter, console_stage: Stage
) -> None:
    gateway = console_stage.serve()
    somebody = await enter(at=gateway)
    somebody.witness.expects(r"ERR_CONNECTION_REFUSED", r"ERR_CONNECTION_RESET", r"ERR_EMPTY_RESPONSE")
    clock = somebody.page.locator('[data-show="now"]')
    await somebody.goes("/")
    before = await clock.inner_text()
    await expect(clock).not_to_have_text(before)

    gateway.kill()
    gone = somebody.page.get_by_role("alert")
    await expect(gone).to_contain_text(re.compile(r"The gateway is not reachable since \d\d:\d\d:\d\d UTC"))
    await expect(clock).to_be_visible()

    console_stage.serve(gateway)
    await expect(gone).to_be_hidden()
    back = await clock.inner_text()
    await expect(clock).not_to_have_text(back)
