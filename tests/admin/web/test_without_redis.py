"""The console while Redis is silent, and after it: sessions, pages, and who signed out meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from cryptography.fernet import Fernet

from tests.admin.web.conftest import admin_url
from tests.admin.web.visitor import SETTINGS, Page, Visitor
from tests.integration.stage import Stage, staged, until
from tests.redis_server import RedisServer, redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def fleet(server: RedisServer) -> Iterator[Stage]:
    with staged(redis_url=server.url, redis_timeout="0.5", budget="unlimited", **SETTINGS) as stage:
        stage.tenant("reports", "lboro")
        stage.serve()
        stage.serve()
        yield stage


def test_the_console_goes_on_without_redis_and_the_fleet_hears_of_it_later(
    fleet: Stage, server: RedisServer
) -> None:
    here, there = (admin_url(each) for each in fleet.gateways)
    with closing(Visitor(here)) as staying, closing(Visitor(here)) as leaving, closing(Visitor(there)) as copy:
        staying.sign_in()
        leaving.sign_in()
        copy.copy(leaving)
        assert leaving.get("/tenants").status_code == 200
        csrf = leaving.csrf
        server.pause()

        assert "what was used today is not known now" in staying.page("/tenants").text
        tenant = staying.page("/tenants/reports").text
        assert "usage is not known now" in tenant
        assert "Requests today –" in tenant
        assert "Redis does not answer." in staying.page("/").text
        assert "which jobs there are is not known now" in staying.page("/reports").text
        assert staying.get(f"/reports/{'0' * 32}").status_code == 503
        assert staying.post("/tenants/reports/edit", name="Changed").status_code == 400  # no version: not saved
        assert leaving.post("/sign-out", csrf).status_code == 303
        again = Visitor(here)
        assert again.sign_in().status_code == 303
        assert again.get("/tenants").status_code == 200
        assert copy.get("/tenants").status_code == 303, "the other process does not know it"

        server.resume()
        until(lambda: "Redis does not answer" not in staying.get("/").text)
        other = Visitor(there)
        other.copy(again)
        until(lambda: other.get("/tenants").status_code == 200)
        assert copy.get("/tenants").status_code == 303, "signed out meanwhile"
        assert staying.get("/tenants").status_code == 200
        again.close()
        other.close()


def test_a_registry_that_does_not_answer_is_said_and_nothing_is_lost(server: RedisServer) -> None:
    key = Fernet.generate_key().decode()
    with (
        redis_server() as registry,
        staged(
            redis_url=server.url, registry=registry.url, encryption_keys=key, redis_timeout="0.5", **SETTINGS
        ) as stage,
    ):
        stage.tenant("reports", "lboro")
        gateway = stage.serve()
        with closing(Visitor(admin_url(gateway))) as visitor:
            visitor.sign_in()
            csrf = visitor.csrf
            registry.pause()
            assert "reports" in visitor.page("/tenants").text
            answer = visitor.get("/tenants/reports")
            assert answer.status_code == 503
            assert Page(answer.text).tags.count("h1") == 1
            assert visitor.post("/tenants/reports/keys", csrf, label="x").status_code == 503
            registry.resume()
            until(lambda: visitor.get("/tenants/reports").status_code == 200)
